import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

export const TROUBLES = [
  /** Both ends see the connection end in peace, in the middle of what was being said. */
  'cut',
  /** Both ends see it reset. */
  'reset',
  /** Nothing passes any more in either direction, and nobody is told. */
  'blackhole',
  /** What the client says still arrives; what the server answers does not, and nobody is told. */
  'halve',
  /** Everything comes later. */
  'delay',
  /** Little passes in a second. */
  'throttle',
] as const;

export interface Trouble {
  readonly kind: (typeof TROUBLES)[number];
  readonly direction: Direction;
  /** It begins when so many bytes have passed in this direction, over all connections. */
  readonly afterBytes: number;
  /** The one connection that carries that byte, or from then on all, old and new. */
  readonly meets: 'one' | 'all';
}

type Direction = 'up' | 'down';

const DELAY_MS = 200;
const THROTTLED_BYTES = 16 * 1024;
const THROTTLED_MS = 50;

/** Stands between a client and a server, and passes every byte until a test scripts a trouble. */
export class TroubleProxy implements AsyncDisposable {
  /** `http://127.0.0.1:<port>` */
  readonly endpoint: string;
  readonly #server: Server;
  readonly #target: URL;
  readonly #sockets = new Set<Socket>();
  #trouble: Trouble | undefined;
  #hasBegun = false;
  #passed = { up: 0, down: 0 };

  private constructor(server: Server, target: URL, port: number) {
    this.#server = server;
    this.#target = target;
    this.endpoint = `http://127.0.0.1:${port}`;
    server.on('connection', (client) => this.#join(client));
  }

  /** `target` is the server's endpoint, plain HTTP. */
  static async open(target: string): Promise<TroubleProxy> {
    const server = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error(`it listens on ${address}`);
    return new TroubleProxy(server, new URL(target), address.port);
  }

  /** From now on this, and nothing of what was before; its bytes are counted from here. */
  script(trouble: Trouble | undefined): void {
    this.#trouble = trouble;
    this.#hasBegun = false;
    this.#passed = { up: 0, down: 0 };
  }

  /** What passed since the last script: the moments at which a trouble can be scripted. */
  get passedBytes(): Readonly<Record<Direction, number>> {
    return { ...this.#passed };
  }

  /** True once the scripted trouble has met a connection. */
  get hasBegun(): boolean {
    return this.#hasBegun;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #join(client: Socket): void {
    const server = connect({ host: this.#target.hostname, port: Number(this.#target.port), allowHalfOpen: true });
    const link = { client, server, trouble: undefined };
    for (const socket of [client, server]) {
      this.#sockets.add(socket);
      socket.on('error', () => undefined); // Its close tells the other end.
      socket.on('close', () => this.#sockets.delete(socket));
    }
    void this.#carry('up', link);
    void this.#carry('down', link);
  }

  /** Passes what one end says until it ends; then the other end is told, and the link is gone. */
  async #carry(direction: Direction, link: Link): Promise<void> {
    const [from, to] = direction === 'up' ? [link.client, link.server] : [link.server, link.client];
    try {
      const chunks: AsyncIterable<Buffer> = from.iterator({ destroyOnReturn: false });
      for await (const chunk of chunks) {
        const heldBytes = this.#meet(direction, chunk.byteLength, link);
        await write(to, chunk.subarray(0, chunk.byteLength - heldBytes));
        await disturb(link, direction, chunk.subarray(chunk.byteLength - heldBytes));
      }
      if (link.trouble !== 'blackhole') to.end();
    } catch {
      from.destroy();
      if (link.trouble !== 'blackhole') to.destroy();
    }
  }

  /** How many of the bytes that came, at their end, are for the trouble of the link to deal with. */
  #meet(direction: Direction, sizeBytes: number, link: Link): number {
    this.#passed[direction] += sizeBytes;
    const trouble = this.#trouble;
    if (link.trouble !== undefined) return sizeBytes;
    if (trouble === undefined) return 0;
    const overBytes = this.#hasBegun ? sizeBytes : this.#passed[trouble.direction] - trouble.afterBytes;
    const begins = !this.#hasBegun && trouble.direction === direction && overBytes > 0;
    if (!begins && !(this.#hasBegun && trouble.meets === 'all')) return 0;
    this.#hasBegun = true;
    link.trouble = trouble.kind;
    return Math.min(overBytes, sizeBytes);
  }
}

interface Link {
  readonly client: Socket;
  readonly server: Socket;
  /** What it is in; a link that once is stays so. */
  trouble: Trouble['kind'] | undefined;
}

async function disturb({ client, server, trouble }: Link, direction: Direction, held: Buffer): Promise<void> {
  const to = direction === 'up' ? server : client;
  switch (trouble) {
    case undefined:
    case 'blackhole':
      return;
    case 'cut':
      client.end();
      server.end();
      return;
    case 'reset':
      client.resetAndDestroy();
      server.resetAndDestroy();
      return;
    case 'halve':
      if (direction === 'up') await write(to, held);
      return;
    case 'delay':
      await delay(DELAY_MS);
      return write(to, held);
    case 'throttle':
      for (let at = 0; at < held.byteLength; at += THROTTLED_BYTES) {
        await delay(THROTTLED_MS);
        await write(to, held.subarray(at, at + THROTTLED_BYTES));
      }
  }
}

/** Resolves when there is room again, or nobody who reads. */
async function write(to: Socket, bytes: Uint8Array): Promise<void> {
  if (bytes.byteLength === 0 || !to.writable || to.write(bytes)) return;
  await Promise.race([once(to, 'drain'), once(to, 'close')]);
}
