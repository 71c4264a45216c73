import { Failure } from '../base/failure.ts';
import type { Property } from './properties.ts';
import type { Tree } from './tree.ts';

/** What an application says of itself in its manifest. */
export interface ApplicationFacts {
  readonly applicationId: Fact | undefined;
  readonly stateDir: Fact | undefined;
  readonly guarantee: Fact | undefined;
}

export interface Fact {
  /** Undefined where only the cluster knows it. */
  readonly text: string | undefined;
  /** Where else an environment variable of ours can take it from. */
  readonly source: Tree | undefined;
  /** `environment variable APPLICATION_ID`, or why it is assumed. */
  readonly from: string;
  /** It is not said in so many words. */
  readonly isAssumed: boolean;
}

/**
 * Where the names come from: plain applications (`APPLICATION_ID`), Spring Boot's relaxed binding of
 * `spring.kafka.streams.*` and of the binder of Spring Cloud Stream, Quarkus (`quarkus.kafka-streams.application-id`; what begins with
 * `kafka-streams.` is passed on), bakdata's streams-bootstrap (`APP_APPLICATION_ID`, `KAFKA_*` or in older ones `STREAMS_*`), Micronaut (`kafka.streams.default.*`).
 */
const NAMES = {
  applicationId: {
    known: [
      'applicationid', 'kafkaapplicationid', 'kafkastreamsapplicationid', 'streamsapplicationid', 'appapplicationid',
      'springkafkastreamsapplicationid', 'springkafkastreamspropertiesapplicationid', 'quarkuskafkastreamsapplicationid',
      'springcloudstreamkafkastreamsbinderapplicationid', 'kafkastreamsdefaultapplicationid',
    ],
    endings: ['applicationid', 'appid'],
  },
  stateDir: {
    known: [
      'statedir', 'kafkastatedir', 'kafkastreamsstatedir', 'streamsstatedir', 'springkafkastreamsstatedir',
      'springkafkastreamspropertiesstatedir', 'quarkuskafkastreamsstatedir', 'kafkastreamsdefaultstatedir',
      'springcloudstreamkafkastreamsbinderconfigurationstatedir',
    ],
    endings: ['statedir', 'statedirectory', 'statestoredir'],
  },
  guarantee: {
    known: [
      'processingguarantee', 'kafkaprocessingguarantee', 'kafkastreamsprocessingguarantee', 'streamsprocessingguarantee',
      'springkafkastreamspropertiesprocessingguarantee', 'kafkastreamsdefaultprocessingguarantee',
      'springcloudstreamkafkastreamsbinderconfigurationprocessingguarantee',
    ],
    endings: ['processingguarantee'],
  },
} as const satisfies Record<string, Names>; // biome-ignore format: lists to be read as such

interface Names {
  readonly known: readonly string[];
  /** Of names that have `kafka` or `streams` in them. */
  readonly endings: readonly string[];
}

/** What Spring Boot and Quarkus take as application id where none is set. */
const NAMES_OF_APPLICATIONS = ['springapplicationname', 'quarkusapplicationname'];

/** What a container says of the application; refuses where it contradicts itself. */
export function findApplication(properties: readonly Property[]): ApplicationFacts {
  return {
    applicationId: find(properties, 'applicationId') ?? applicationName(properties),
    stateDir: find(properties, 'stateDir') ?? defaultStateDir(properties),
    guarantee: find(properties, 'guarantee') ?? defaultGuarantee(properties),
  };
}

function find(properties: readonly Property[], role: keyof typeof NAMES): Fact | undefined {
  const { known, endings }: Names = NAMES[role];
  const said = properties.filter(({ key, text }) => text !== '' && !key.startsWith('warmstate'));
  const byName = said.filter(({ key }) => known.includes(key));
  const byEnding = said.filter(
    ({ key }) => /kafka|streams/.test(key) && endings.some((ending) => key.endsWith(ending)),
  );
  return agreed(byName.length > 0 ? byName : byEnding);
}

function agreed(properties: readonly Property[]): Fact | undefined {
  const [first] = properties;
  if (first === undefined) return undefined;
  const other = properties.find(
    ({ text, source }) => text !== first.text || (text === undefined && source !== first.source),
  );
  if (other !== undefined) {
    const [one, two] = [first, other].map(({ from, text }) => `${from} says ${text ?? 'what only the cluster knows'}`);
    throw new Failure('invalid', `${one}, but ${two}`);
  }
  return { text: first.text, source: first.source, from: first.from, isAssumed: false };
}

function applicationName(properties: readonly Property[]): Fact | undefined {
  const fact = agreed(properties.filter(({ key, text }) => NAMES_OF_APPLICATIONS.includes(key) && text !== ''));
  return fact && { ...fact, isAssumed: true };
}

/** Kafka Streams' own default is a directory below that of the JVM for temporary files. */
function defaultStateDir(properties: readonly Property[]): Fact {
  const temporary = properties.find(({ key }) => key === 'javaiotmpdir')?.text ?? '/tmp';
  return { text: `${temporary}/kafka-streams`, source: undefined, from: "Kafka's default", isAssumed: true };
}

/** Only streams-bootstrap says exactly-once unless it is told otherwise (ConfiguredStreamsApp.java); it is known by the variable for its prefix. */
function defaultGuarantee(properties: readonly Property[]): Fact | undefined {
  const isStreamsBootstrap = properties.some(({ key }) => key === 'envprefix');
  const from = 'the default of streams-bootstrap';
  return isStreamsBootstrap ? { text: 'exactly_once_v2', source: undefined, from, isAssumed: true } : undefined;
}
