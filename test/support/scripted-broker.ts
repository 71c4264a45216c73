import { createServer, type Server, type Socket } from 'node:net';
import { WireReader, WireWriter } from '../../src/kafka/wire.ts';

export interface ScriptedTopic {
  /** 16 bytes. */
  readonly id: Uint8Array;
  readonly error?: number;
  /** Per partition: where its log begins and ends, and where the first open transaction begins. */
  readonly logs: readonly {
    readonly start: bigint;
    readonly end: bigint;
    readonly stable?: bigint;
    readonly leader?: number;
  }[];
  readonly configs?: Readonly<Record<string, string>>;
}

export interface BrokerScript {
  readonly topics: Readonly<Record<string, ScriptedTopic>>;
  readonly transactionalIds?: readonly string[];
  /** Requests, by their key, that it never answers. */
  readonly silentTo?: ReadonlySet<number>;
  /** Requests that it does not know. */
  readonly withoutKeys?: ReadonlySet<number>;
  /** Beside itself, node 1. */
  readonly others?: readonly { readonly node: number; readonly port: number }[];
}

const KEYS = [2, 3, 18, 32, 66];

/** As much of a broker as is asked of one, without Kafka: what it says is scripted. */
export class ScriptedBroker implements AsyncDisposable {
  readonly port: number;
  /** The keys of the requests that came, in their order. */
  readonly asked: number[] = [];
  script: BrokerScript;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(server: Server, port: number, script: BrokerScript) {
    this.#server = server;
    this.port = port;
    this.script = script;
    server.on('connection', (socket) => this.#serve(socket));
  }

  static async start(script: BrokerScript): Promise<ScriptedBroker> {
    const server = createServer();
    const { promise, resolve } = Promise.withResolvers<void>();
    server.listen(0, '127.0.0.1', resolve);
    await promise;
    const address = server.address();
    if (typeof address !== 'object' || address === null) throw new TypeError('a TCP server has a port');
    return new ScriptedBroker(server, address.port, script);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('error', () => {}).on('close', () => this.#sockets.delete(socket));
    let left = Buffer.alloc(0);
    socket.on('data', (chunk) => {
      left = Buffer.concat([left, chunk]);
      while (left.length >= 4 && left.length >= 4 + left.readInt32BE()) {
        const end = 4 + left.readInt32BE();
        const answer = this.#answer(new WireReader(left.subarray(4, end)));
        left = left.subarray(end);
        if (answer !== undefined) socket.write(new WireWriter().bytes(answer).finish());
      }
    });
  }

  #answer(request: WireReader): Buffer | undefined {
    const key = request.int16();
    request.int16();
    const head = new WireWriter().int32(request.int32());
    request.string();
    this.asked.push(key);
    if (this.script.silentTo?.has(key)) return undefined;
    switch (key) {
      case 18:
        return this.#knownRequests(head).finish();
      case 3:
        request.skipTags();
        return this.#metadata(head.noTags(), request).finish();
      case 2:
        return this.#offsets(head, request).finish();
      case 32:
        return this.#configs(head, request).finish();
      case 66:
        return this.#transactions(head.noTags()).finish();
      default:
        return undefined;
    }
  }

  #knownRequests(answer: WireWriter): WireWriter {
    const known = KEYS.filter((key) => !this.script.withoutKeys?.has(key));
    return answer.int16(0).list(known, (key) => answer.int16(key).int16(0).int16(99));
  }

  #metadata(answer: WireWriter, request: WireReader): WireWriter {
    const names = request.compactList(() => {
      request.uuid();
      const name = request.compactString() ?? '';
      request.skipTags();
      return name;
    });
    const brokers = [{ node: 1, port: this.port }, ...(this.script.others ?? [])];
    const nobody: readonly number[] = [];
    answer.int32(0).compactList(brokers, ({ node, port }) => {
      answer.int32(node).compactString('127.0.0.1').int32(port).compactString('rack').noTags();
    });
    answer.compactString('cluster').int32(1);
    answer.compactList(names, (name) => {
      const { id = Buffer.alloc(16), logs = [], error = 0 } = this.script.topics[name] ?? { error: 3 };
      answer.int16(error).compactString(name).raw(id).int8(0);
      answer.compactList([...logs.entries()], ([partition, { leader = 1 }]) => {
        answer.int16(0).int32(partition).int32(leader).int32(7);
        for (let lists = 0; lists < 3; lists++) answer.compactList(nobody, () => {});
        answer.noTags();
      });
      answer.int32(0).noTags();
    });
    return answer.int32(0).noTags();
  }

  #offsets(answer: WireWriter, request: WireReader): WireWriter {
    request.int32();
    const isStable = request.int8() === 1;
    const topics = request.list(() => {
      const name = request.string() ?? '';
      return {
        name,
        partitions: request.list(() => ({ partition: request.int32(), isStart: request.int64() === -2n })),
      };
    });
    return answer.int32(0).list(topics, ({ name, partitions }) => {
      answer.string(name).list(partitions, ({ partition, isStart }) => {
        const log = this.script.topics[name]?.logs[partition] ?? { start: 0n, end: 0n };
        const end = isStable ? (log.stable ?? log.end) : log.end;
        answer
          .int32(partition)
          .int16(0)
          .int64(-1n)
          .int64(isStart ? log.start : end);
      });
    });
  }

  #configs(answer: WireWriter, request: WireReader): WireWriter {
    const topics = request.list(() => {
      request.int8();
      const name = request.string() ?? '';
      request.list(() => request.string());
      return name;
    });
    return answer.int32(0).list(topics, (name) => {
      const { configs } = this.script.topics[name] ?? {};
      answer
        .int16(configs === undefined ? 29 : 0)
        .int16(-1)
        .int8(2)
        .string(name);
      answer.list(Object.entries(configs ?? {}), ([key, value]) => {
        answer.string(key).string(value).int8(0).int8(1).int8(0).int32(0);
      });
    });
  }

  #transactions(answer: WireWriter): WireWriter {
    const unknown: readonly string[] = [];
    answer
      .int32(0)
      .int16(0)
      .compactList(unknown, () => {});
    answer.compactList(this.script.transactionalIds ?? [], (id) => {
      answer.compactString(id).int64(1n).compactString('Empty').noTags();
    });
    return answer.noTags();
  }
}
