import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ScramMechanism } from '../../../src/kafka/sasl.ts';
import type { Load } from '../model.ts';
import { ControlledProcess } from './controlled-process.ts';
import { brokerClassPath } from './java-programs.ts';

export const CLUSTER_ID = '4L6g3nShT-eMCtK--X86sw';

/** A real Kafka broker (KRaft, one node) on free ports of 127.0.0.1, its data in a directory that goes with it. */
export class Broker {
  readonly bootstrap: string;
  /** Where its other listeners listen, by name. */
  readonly listeners: ReadonlyMap<string, string>;
  readonly #java: ControlledProcess;
  readonly #directory: string | undefined;
  readonly #signal: AbortSignal;

  private constructor(
    { bootstrap, listeners }: Pick<Broker, 'bootstrap' | 'listeners'>,
    process: {
      readonly java: ControlledProcess;
      readonly directory: string | undefined;
      readonly signal: AbortSignal;
    },
  ) {
    this.bootstrap = bootstrap;
    this.listeners = listeners;
    this.#java = process.java;
    this.#directory = process.directory;
    this.#signal = process.signal;
  }

  /**
   * Resolves when the broker answers. `signal` bounds everything that is asked of it later, too. `more` are its own settings,
   * `protocols` those of more listeners, by name.
   */
  static async start(
    signal: AbortSignal,
    more: Readonly<Record<string, string | number>> = {},
    protocols: Readonly<Record<string, 'SSL' | 'SASL_PLAINTEXT' | 'SASL_SSL'>> = {},
  ): Promise<Broker> {
    const classPath = await brokerClassPath();
    const names = Object.keys(protocols);
    const [port, controllerPort = 0, ...morePorts] = await freePorts(2 + names.length);
    const bootstrap = `127.0.0.1:${port}`;
    const listeners = new Map(names.map((name, index) => [name, `127.0.0.1:${morePorts[index]}`]));
    await using started = new AsyncDisposableStack();
    const directory = await mkdtemp(join(tmpdir(), 'warmstate-broker-'));
    started.defer(() => rm(directory, { recursive: true, force: true }));
    const properties = join(directory, 'server.properties');
    await writeFile(properties, serverProperties({ bootstrap, controllerPort, directory, listeners, protocols, more }));
    const java = started.use(
      await ControlledProcess.start('warmstate.Broker', {
        classPath,
        settings: { properties, bootstrap, clusterId: CLUSTER_ID },
      }),
    );
    await java.request('/end-offsets', {}, signal);
    started.move();
    return new Broker({ bootstrap, listeners }, { java, directory, signal });
  }

  /** One that somebody else started. */
  static at(bootstrap: string, java: ControlledProcess, signal: AbortSignal): Broker {
    return new Broker({ bootstrap, listeners: new Map() }, { java, directory: undefined, signal });
  }

  /** Creates `<topics>-input`, `<topics>-table` (with `partitions`) and `<topics>-global` (with two). */
  async createTopics(topics: string, partitions: number): Promise<void> {
    await this.#java.request('/topics', { topics, partitions }, this.#signal);
  }

  /** Lets a user sign in by SCRAM. */
  async addScramUser(user: string, password: string, mechanism: ScramMechanism): Promise<void> {
    await this.#java.request('/scram-user', { user, password, mechanism }, this.#signal);
  }

  async deleteTopic(topic: string): Promise<void> {
    await this.#java.request('/delete-topic', { topic }, this.#signal);
  }

  /** Produces the records `from` (inclusive) to `to` (exclusive); all are acknowledged when it resolves. */
  async feed(topics: string, load: Load, range: { readonly from: number; readonly to: number }): Promise<void> {
    await this.#java.request('/feed', { topics, ...load, ...range }, this.#signal);
  }

  /** The next offset of every partition there is, changelogs too, by `topic-partition`. */
  async endOffsets(): Promise<ReadonlyMap<string, bigint>> {
    return offsetsOf(await this.#java.request('/end-offsets', {}, this.#signal));
  }

  /** The next offset that `group` will read, by `topic-partition`. */
  async committedOffsets(group: string): Promise<ReadonlyMap<string, bigint>> {
    return offsetsOf(await this.#java.request('/committed-offsets', { group }, this.#signal));
  }

  /**
   * How many deletions of that time, in the records' own, a topic still holds: compaction takes them away some time after
   * its `delete.retention.ms`.
   */
  async tombstones(topic: string, beforeMs: number): Promise<number> {
    const answer: unknown = JSON.parse(await this.#java.request('/tombstones', { topic, beforeMs }, this.#signal));
    return Number(Object.entries(answer ?? {}).find(([name]) => name === 'tombstones')?.[1]);
  }

  /** How many members the broker believes a group to have; a killed one counts until its session times out. */
  async memberCount(group: string): Promise<number> {
    const answer: unknown = JSON.parse(await this.#java.request('/members', { group }, this.#signal));
    return Number(Object.entries(answer ?? {}).find(([name]) => name === 'members')?.[1]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#java.kill();
    if (this.#directory !== undefined) await rm(this.#directory, { recursive: true, force: true });
  }
}

export function serverProperties(options: {
  readonly bootstrap: string;
  readonly controllerPort: number;
  readonly directory: string;
  readonly listeners: ReadonlyMap<string, string>;
  readonly protocols: Readonly<Record<string, string>>;
  readonly more: Readonly<Record<string, string | number>>;
}): string {
  const controller = `127.0.0.1:${options.controllerPort}`;
  const listeners = [...options.listeners].map(([name, address]) => `,${name}://${address}`).join('');
  const protocols = Object.entries(options.protocols)
    .map(([name, protocol]) => `,${name}:${protocol}`)
    .join('');
  return [
    'process.roles=broker,controller',
    'node.id=1',
    `listeners=PLAINTEXT://${options.bootstrap},CONTROLLER://${controller}${listeners}`,
    'controller.listener.names=CONTROLLER',
    `listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT${protocols}`,
    `controller.quorum.voters=1@${controller}`,
    `log.dirs=${join(options.directory, 'log')}`,
    'auto.create.topics.enable=false',
    'offsets.topic.replication.factor=1',
    'offsets.topic.num.partitions=4',
    'transaction.state.log.replication.factor=1',
    'transaction.state.log.min.isr=1',
    'transaction.state.log.num.partitions=4',
    'share.coordinator.state.topic.replication.factor=1',
    'share.coordinator.state.topic.min.isr=1',
    'group.initial.rebalance.delay.ms=0',
    'group.streams.initial.rebalance.delay.ms=0',
    'group.min.session.timeout.ms=1000',
    // Records lie in the past, transaction markers do not: with the default of a week every commit would begin a segment,
    // the cleaner would compact the changelogs, and a restore would count fewer records than were written.
    'log.roll.ms=3153600000000',
    'log.cleaner.dedupe.buffer.size=16777216', // Fits the small heap.
    ...Object.entries(options.more).map(([name, value]) => `${name}=${value}`),
    '',
  ].join('\n');
}

function offsetsOf(json: string): ReadonlyMap<string, bigint> {
  const parsed: unknown = JSON.parse(json);
  return new Map(Object.entries(parsed ?? {}).map(([partition, offset]) => [partition, BigInt(String(offset))]));
}

/** Different ports that were free a moment ago. */
async function freePorts(count: number): Promise<readonly number[]> {
  const servers = Array.from({ length: count }, () => createServer());
  const ports: number[] = [];
  for (const server of servers) {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    server.once('error', reject).listen(0, '127.0.0.1', resolve);
    await promise;
    const address = server.address();
    if (typeof address !== 'object' || address === null) throw new TypeError('a TCP server has a port');
    ports.push(address.port);
  }
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
