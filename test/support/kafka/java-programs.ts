import { join, resolve } from 'node:path';
import { buildJava } from '../maven.ts';

const PROJECT = resolve(import.meta.dirname, '../../streams-app');
const BROKER_VERSION = '4.4.0';

/** The class path of the Kafka Streams application on a release of Kafka Streams. Throws `missing` without Maven. */
export async function applicationClassPath(version: string): Promise<string> {
  return build({ program: 'application', 'kafka.artifact': 'kafka-streams', 'kafka.version': version });
}

/** The class path of what compares images of the application's state with its changelogs, on the RocksDB of a release. */
export async function checkerClassPath(version: string): Promise<string> {
  return build({ program: 'checker', 'kafka.artifact': 'kafka-streams', 'kafka.version': version });
}

/** The class path of the broker. Throws `missing` without Maven. */
export async function brokerClassPath(): Promise<string> {
  return build({ program: 'broker', 'kafka.artifact': 'kafka_2.13', 'kafka.version': BROKER_VERSION });
}

async function build(properties: {
  readonly program: string;
  readonly 'kafka.artifact': string;
  readonly 'kafka.version': string;
}): Promise<string> {
  const classesDirectory = join('target', `${properties.program}-${properties['kafka.version']}`, 'classes');
  return buildJava(PROJECT, { properties, classesDirectory });
}
