import { once } from 'node:events';
import { connect as connectTcp, isIP, type Socket } from 'node:net';
import { addAbortSignal } from 'node:stream';
import { connect as connectTls, createSecureContext, type SecureContext } from 'node:tls';
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
  /** A connection is given up when nothing came for so long and something was waited for. */
  readonly silenceMsMax: number;
  /** Ends whatever is waited for. */
  readonly signal: AbortSignal;
}

/** An answer about ten thousand partitions has half a MiB; several brokers are asked at a time. */
const ANSWER_BYTES_MAX = 16 * 1024 * 1024;
const PORT_MAX = 65_535;
const NONCE_LENGTH = 32;

/** A connection to one broker, authenticated; one request after another. Failures: `unavailable`, `denied` among them. */
export class BrokerConnection implements AsyncDisposable {
  readonly #name: string;
  readonly #socket: Socket;
  readonly #world: BrokerWorld;
  readonly #chunks: AsyncIterator<Buffer>;
  /** What came and was not read yet. */
  #left: Buffer = Buffer.alloc(0);
  #requests = 0;
  #known: readonly KnownRequest[] = [];

  private constructor(name: string, socket: Socket, world: BrokerWorld) {
    this.#name = name;
    this.#socket = socket;
    this.#world = world;
    this.#chunks = addAbortSignal(world.signal, socket)[Symbol.asyncIterator]();
    socket.on('error', () => {}); // Whoever waits hears of it; nobody may be waiting.
    socket.on('timeout', () => socket.destroy(new Error(`it is silent for ${world.silenceMsMax / 1000} s`)));
  }

  static async open(address: BrokerAddress, security: Security, world: BrokerWorld): Promise<BrokerConnection> {
    const name = nameOf(address);
    // Brokers name each other, and may be wrong.
    if (address.host === '' || address.port < 1 || address.port > PORT_MAX)
      throw new Failure('unavailable', `cannot ask broker ${name}: nothing has this address`);
    const socket = security.tls === undefined ? connectTcp(address) : connectSecurely(address, security.tls);
    const connection = new BrokerConnection(name, socket, world);
    socket.setTimeout(world.silenceMsMax);
    try {
      const event = security.tls === undefined ? 'connect' : 'secureConnect';
      await connection.#translate('connect', () => once(socket, event, { signal: world.signal }));
      const { known } = await connection.send(knownRequests());
      connection.#known = known;
      if (security.credentials !== undefined) await connection.#authenticate(security.credentials);
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

  async #authenticate(credentials: Credentials): Promise<void> {
    const { mechanism } = credentials;
    const { error, offered } = await this.send(saslHandshake(mechanism));
    if (error !== 0) throw this.#refused(`${describeError(error)}: it offers ${offered.join(', ')}, not ${mechanism}`);
    const { random, signal } = this.#world;
    const nonce = random.token(NONCE_LENGTH);
    const conversation = await this.#translate(mechanism, () => beginConversation(credentials, { nonce, signal }));
    let token: Buffer | undefined = conversation.first;
    while (token !== undefined) {
      const answer: { error: number; message: string | undefined; token: Buffer } = await this.send(
        saslAuthenticate(token),
      );
      if (answer.error !== 0) throw this.#refused(answer.message ?? describeError(answer.error));
      token = await this.#translate(mechanism, () => conversation.reply(answer.token));
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
    const chunks = [this.#left];
    let sizeBytes = this.#left.length;
    this.#socket.setTimeout(this.#world.silenceMsMax);
    while (sizeBytes < length) {
      const { done, value } = await this.#chunks.next();
      if (done === true) throw new Error('it closed the connection');
      chunks.push(value);
      sizeBytes += value.length;
    }
    this.#socket.setTimeout(0);
    const bytes = Buffer.concat(chunks);
    this.#left = bytes.subarray(length);
    return bytes.subarray(0, length);
  }

  async #translate<T>(what: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (isFailure(error, 'unavailable', 'invalid')) throw error;
      const why = this.#world.signal.aborted ? messageOf(this.#world.signal.reason) : messageOf(error);
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
  return connectTls({
    ...address,
    ...(isIP(address.host) === 0 ? { servername: address.host } : {}),
    secureContext: secureContextOf(tls),
    ...(tls.checksHost ? {} : { checkServerIdentity: () => undefined }),
  });
}

function secureContextOf({ trusted: ca, certificate: cert, key, keyPassword: passphrase }: TlsSettings): SecureContext {
  try {
    return createSecureContext({ ca, cert, key, passphrase });
  } catch (cause) {
    throw new Failure('invalid', `cannot use the keys and certificates of --command-config: ${messageOf(cause)}`, {
      cause,
      hint: 'openssl x509 -in FILE -noout -text shows a certificate; ssl.key.password is the password of the key',
    });
  }
}
