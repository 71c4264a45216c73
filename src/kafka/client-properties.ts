import { Failure, messageOf } from '../base/failure.ts';
import type { Security, TlsSettings } from './broker-connection.ts';
import { parseJavaProperties } from './java-properties.ts';
import { tokenSource } from './oauth-token.ts';
import type { Credentials } from './sasl.ts';

/** Reads what the properties point to: PEM files. As of node:fs/promises. */
export type ReadFile = (path: string) => Promise<string>;

const PLAINTEXT: Security = { tls: undefined, credentials: undefined };

/**
 * How brokers are talked to, from a properties file as Kafka's own tools take it with `--command-config`, by Kafka's own
 * names; what is not about security is left alone. Failure `invalid` where it cannot be followed, with a sentence.
 */
export async function readClientProperties(path: string | undefined, readFile: ReadFile): Promise<Security> {
  if (path === undefined) return PLAINTEXT;
  const properties = parseJavaProperties(await readText(path, readFile));
  const refuse = (why: string, hint: string): Failure =>
    new Failure('invalid', `cannot use ${path} for --command-config: ${why}`, { hint });
  const said = properties.get('security.protocol') ?? 'PLAINTEXT';
  const protocol = said.toUpperCase();
  if (!/^(?:PLAINTEXT|SSL|SASL_PLAINTEXT|SASL_SSL)$/.test(protocol))
    throw refuse(`security.protocol is ${said}`, 'PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL');
  const tools: Tools = { properties, get: (key) => properties.get(key)?.trim() || undefined, refuse, readFile };
  return {
    tls: protocol.endsWith('SSL') ? await readTls(tools) : undefined,
    credentials: protocol.startsWith('SASL') ? readCredentials(tools) : undefined,
  };
}

interface Tools {
  readonly properties: ReadonlyMap<string, string>;
  /** Undefined also for an empty value. */
  readonly get: (key: string) => string | undefined;
  readonly refuse: (why: string, hint: string) => Failure;
  readonly readFile: ReadFile;
}

async function readTls(tools: Tools): Promise<TlsSettings> {
  const { get, properties } = tools;
  const key = await readPem('keystore', 'ssl.keystore.key', tools);
  const certificate = get('ssl.keystore.certificate.chain') ?? key; // A PEM keystore is one file with both.
  if (key !== undefined && !(certificate ?? '').includes('BEGIN CERTIFICATE'))
    throw tools.refuse('the keystore has a key and no certificate', 'add ssl.keystore.certificate.chain');
  return {
    trusted: await readPem('truststore', 'ssl.truststore.certificates', tools),
    certificate,
    key,
    keyPassword: get('ssl.key.password'),
    // Kafka's default is https; an empty value turns the check off.
    checksHost: properties.get('ssl.endpoint.identification.algorithm')?.trim() !== '',
  };
}

/** Of one of the two stores: what stands in the properties themselves, else the file that they name. */
async function readPem(store: 'keystore' | 'truststore', inline: string, tools: Tools): Promise<string | undefined> {
  const { get, refuse } = tools;
  const [type, location] = [get(`ssl.${store}.type`) ?? 'JKS', get(`ssl.${store}.location`)];
  const text = get(inline);
  if (text === undefined && location === undefined) return undefined;
  if (type.toUpperCase() !== 'PEM') {
    const given = get(`ssl.${store}.type`) === undefined ? `not set, which is ${type} to Kafka` : type;
    throw refuse(
      `ssl.${store}.type is ${given}, and only PEM can be read`,
      `keytool -importkeystore -deststoretype PKCS12, then openssl pkcs12 -nodes; ssl.${store}.type=PEM`,
    );
  }
  const pem = text ?? (await readText(location ?? '', tools.readFile));
  if (!pem.includes('-----BEGIN '))
    throw refuse(`${location ?? inline} holds nothing in PEM`, 'a file that begins with -----BEGIN');
  return pem;
}

function readCredentials(tools: Tools): Credentials {
  const { get, refuse } = tools;
  const mechanism = get('sasl.mechanism') ?? 'GSSAPI';
  const options = parseJaas(get('sasl.jaas.config') ?? '');
  switch (mechanism) {
    case 'PLAIN':
    case 'SCRAM-SHA-256':
    case 'SCRAM-SHA-512': {
      const [username, password] = [options.get('username'), options.get('password')];
      if (username !== undefined && password !== undefined) return { mechanism, username, password };
      throw refuse('sasl.jaas.config has no username="…" and password="…"', `as ${mechanism} needs them`);
    }
    case 'OAUTHBEARER': {
      const endpoint = get('sasl.oauthbearer.token.endpoint.url');
      const source = endpoint === undefined ? undefined : tokenSource(endpoint, options, tools.readFile);
      if (source !== undefined) return { mechanism, token: source };
      throw refuse(
        `sasl.oauthbearer.token.endpoint.url is ${endpoint ?? 'not set'}`,
        'a https URL with clientId and clientSecret in sasl.jaas.config, or a file URL of a token',
      );
    }
    default:
      throw refuse(`sasl.mechanism is ${mechanism}`, 'PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER');
  }
}

/** The options of a JAAS entry: `org.apache….PlainLoginModule required username="x" password='y';` */
function parseJaas(config: string): ReadonlyMap<string, string> {
  const options = config.matchAll(/([\w.]+)\s*=\s*(?:"((?:\\.|[^"\\])*)"|'((?:\\.|[^'\\])*)'|([^\s;"']+))/g);
  return new Map(
    options.map(([, key = '', double, single, bare]) => [
      key,
      bare ?? (double ?? single ?? '').replaceAll(/\\(.)/gs, '$1'),
    ]),
  );
}

async function readText(path: string, readFile: ReadFile): Promise<string> {
  try {
    return await readFile(path);
  } catch (cause) {
    throw new Failure('invalid', `cannot read ${path}, which is for talking to brokers: ${messageOf(cause)}`, {
      cause,
    });
  }
}
