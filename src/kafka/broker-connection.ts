import { once } from 'node:events';
import { connect as connectTcp, isIP, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { Random } from '../base/clock.ts';
import { Failure, isFailure, messageOf } from '../base/failure.ts';
import type { BrokerAddress } from './broker-facts.ts';
import {
  describeError,
  frameOf,
  type KnownRequest,
  knownRequests,
  type Request,
  readAnswer,
  saslAuthenticate,
  saslHandshake,
} from './requests.ts';
import { beginConversation, type Credentials } from './sasl.ts';

/** How a broker is talked to. */
export interface Security {
  /** Undefined: in the clear. */
  readonly tls: TlsSettings | undefined;
  readonly credentials: Credentials | undefined;
}

/** All PEM. */
export interface TlsSettings {
  /** Undefined: those that Node.js trusts. */
  readonly trusted: string | undefined;
  readonly certificate: string | undefined;
  readonly key: string | undefined;
  readonly keyPassword: string | undefined;
  /** Whether the certificate must be for the host that was connected to. */
  readonly checksHost: boolean;
}

export interface BrokerWorld {
  readonly random: Random;
  /** Ends whatever is waited for. */
  readonly signal: AbortSignal;
}

/** An answer about thousands of partitions stays far below it. */
const ANSWER_BYTES_MAX = 64 * 1024 * 1024;
const NONCE_LENGTH = 32;

/** A connection to one broker, authenticated; one request after another. Failures: `unavailable`, `denied` among them. */
export class BrokerConnection implements AsyncDisposable {
  readonly #name: string;
  readonly #socket: Socket;
  readonly #signal: AbortSignal;
  #requests = 0;
  #known: readonly KnownRequest[] = [];

  private constructor(name: string, socket: Socket, signal: AbortSignal) {
    this.#name = name;
    this.#socket = socket;
    this.#signal = signal;
  }

  static async open(address: BrokerAddress, security: Security, world: BrokerWorld): Promise<BrokerConnection> {
    const name = nameOf(address);
    const socket = security.tls === undefined ? connectTcp(address) : connectSecurely(address, security.tls);
    socket.on('error', () => {}); // Whoever waits hears of it; nobody may be waiting.
    const connection = new BrokerConnection(name, socket, world.signal);
    try {
      await connection.#translate('connect', () =>
        once(socket, security.tls === undefined ? 'connect' : 'secureConnect', world),
      );
      const { known } = await connection.send(knownRequests());
      connection.#known = known;
      if (security.credentials !== undefined) await connection.#authenticate(security.credentials, world.random);
      return connection;
    } catch (error) {
      await connection[Symbol.asyncDispose]();
      throw error;
    }
  }

  async send<T>(request: Request<T>): Promise<T> {
    this.#assertKnown(request);
    this.#requests += 1;
    const id = this.#requests;
    return this.#translate(request.name, async () => {
      this.#socket.write(frameOf(request, id));
      const sizeBytes = (await this.#read(4)).readInt32BE();
      if (sizeBytes < 4 || sizeBytes > ANSWER_BYTES_MAX)
        throw new Failure('corrupt', `its answer has ${sizeBytes} bytes: this is no listener of Kafka`);
      const answer = readAnswer(request, await this.#read(sizeBytes), id);
      if (answer === undefined) throw new Failure('corrupt', 'it answers another request');
      return answer;
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#socket.destroy();
    return Promise.resolve();
  }

  async #authenticate(credentials: Credentials, random: Random): Promise<void> {
    const { mechanism } = credentials;
    const { error, offered } = await this.send(saslHandshake(mechanism));
    if (error !== 0) throw this.#refused(`${describeError(error)}: it offers ${offered.join(', ')}, not ${mechanism}`);
    const conversation = await this.#translate(mechanism, () =>
      beginConversation(credentials, random.token(NONCE_LENGTH)),
    );
    let token: Buffer | undefined = conversation.first;
    while (token !== undefined) {
      const answer: { error: number; message: string | undefined; token: Buffer } = await this.send(
        saslAuthenticate(token),
      );
      if (answer.error !== 0) throw this.#refused(answer.message ?? describeError(answer.error));
      token = await this.#translate(mechanism, () => Promise.resolve(conversation.reply(answer.token)));
    }
  }

  #refused(why: string): Failure {
    const hint = 'compare sasl.mechanism and sasl.jaas.config of --command-config with what the brokers expect';
    return new Failure('unavailable', `cannot authenticate with broker ${this.#name}: ${why}`, {
      detail: 'denied',
      hint,
    });
  }

  /** A broker hangs up on what it does not know. */
  #assertKnown({ name, key, version }: Request<unknown>): void {
    const known = this.#known.find((one) => one.key === key);
    if (this.#known.length === 0 || (known !== undefined && known.min <= version && version <= known.max)) return;
    const range = known === undefined ? 'not at all' : `in versions ${known.min} to ${known.max}`;
    throw new Failure('unavailable', `cannot ask broker ${this.#name}: it knows ${name} ${range}, not ${version}`, {
      hint: 'brokers from 2.8 on can be asked',
    });
  }

  async #read(length: number): Promise<Buffer> {
    for (;;) {
      this.#signal.throwIfAborted();
      const bytes: unknown = this.#socket.read(length);
      if (Buffer.isBuffer(bytes) && bytes.length === length) return bytes;
      if (this.#socket.errored !== null) throw this.#socket.errored;
      if (this.#socket.readableEnded || this.#socket.destroyed) throw new Error('it closed the connection');
      await once(this.#socket, 'readable', { signal: this.#signal });
    }
  }

  async #translate<T>(what: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (isFailure(error, 'unavailable', 'invalid')) throw error;
      const why = this.#signal.aborted ? messageOf(this.#signal.reason) : messageOf(error);
      throw new Failure('unavailable', `cannot ask broker ${this.#name} (${what}): ${why}`, {
        cause: error,
        hint:
          HINTS.find(({ of }) => of.test(why))?.hint ??
          'compare --bootstrap-servers and security.protocol with the listeners of the brokers',
      });
    }
  }
}

const HINTS = [
  {
    of: /certificate|issuer|self.signed/i,
    hint: 'name the CA of the brokers in ssl.truststore.location of --command-config, as PEM',
  },
  { of: /altnames|hostname/i, hint: 'use the names that stand in the certificates of the brokers' },
];

export function nameOf({ host, port }: BrokerAddress): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

function connectSecurely(address: BrokerAddress, tls: TlsSettings): Socket {
  const { trusted: ca, certificate: cert, key, keyPassword: passphrase, checksHost } = tls;
  return connectTls({
    ...address,
    ...(isIP(address.host) === 0 ? { servername: address.host } : {}),
    ca,
    cert,
    key,
    passphrase,
    ...(checksHost ? {} : { checkServerIdentity: () => undefined }),
  });
}
