import { generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import { isIP } from 'node:net';

/** PEM, as `node:https` takes it. */
export interface KeyAndCertificate {
  readonly key: string;
  readonly cert: string;
}

export interface Authority {
  /** Its own certificate in PEM: what a client must be told to trust. */
  readonly cert: string;
  /** A key and a certificate for host names and addresses. */
  issue(hosts: readonly string[]): KeyAndCertificate;
}

const VALID_MS = 24 * 60 * 60 * 1000;
const OID = {
  commonName: '550403',
  ecdsaWithSha256: '2a8648ce3d040302',
  basicConstraints: '551d13',
  keyUsage: '551d0f',
  subjectAltName: '551d11',
};

/** A certificate authority that nobody knows, valid for a day: RFC 5280 with P-256 keys, in the least DER that does. */
export function makeAuthority(nowMs = Date.now()): Authority {
  const keys = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const name = 'warmstate test authority';
  const common = { issuer: name, signer: keys.privateKey, nowMs };
  const isAuthority = extension(OID.basicConstraints, sequence(tagged(0x01, Buffer.of(0xff))));
  const signsCertificates = extension(OID.keyUsage, Buffer.of(0x03, 0x02, 0x02, 0x04));
  return {
    cert: certificate({ ...common, subject: name, key: keys.publicKey, extensions: [isAuthority, signsCertificates] }),
    issue(hosts) {
      const own = generateKeyPairSync('ec', { namedCurve: 'P-256' });
      const extensions = [extension(OID.subjectAltName, sequence(...hosts.map(alternativeName)))];
      const cert = certificate({ ...common, subject: 'warmstate test server', key: own.publicKey, extensions });
      return { key: own.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(), cert };
    },
  };
}

function certificate(of: {
  readonly issuer: string;
  readonly subject: string;
  readonly key: KeyObject;
  readonly signer: KeyObject;
  readonly nowMs: number;
  readonly extensions: readonly Buffer[];
}): string {
  const algorithm = sequence(identifier(OID.ecdsaWithSha256));
  const toBeSigned = sequence(
    tagged(0xa0, integer(Buffer.of(2))),
    integer(Buffer.concat([Buffer.of(1), randomBytes(15)])),
    algorithm,
    distinguishedName(of.issuer),
    sequence(time(of.nowMs - VALID_MS), time(of.nowMs + VALID_MS)),
    distinguishedName(of.subject),
    of.key.export({ type: 'spki', format: 'der' }),
    tagged(0xa3, sequence(...of.extensions)),
  );
  const signature = tagged(0x03, Buffer.of(0), sign('sha256', toBeSigned, of.signer));
  const base64 = sequence(toBeSigned, algorithm, signature).toString('base64');
  return `-----BEGIN CERTIFICATE-----\n${base64.replaceAll(/.{64}/g, '$&\n')}\n-----END CERTIFICATE-----\n`;
}

function distinguishedName(text: string): Buffer {
  return sequence(tagged(0x31, sequence(identifier(OID.commonName), tagged(0x0c, Buffer.from(text)))));
}

function extension(id: string, value: Buffer): Buffer {
  return sequence(identifier(id), tagged(0x04, value));
}

function alternativeName(host: string): Buffer {
  return isIP(host) === 4 ? tagged(0x87, Buffer.from(host.split('.').map(Number))) : tagged(0x82, Buffer.from(host));
}

/** `YYYYMMDDHHMMSSZ` */
function time(ms: number): Buffer {
  const digits = new Date(ms).toISOString().replaceAll(/[-:T]|\..*$/g, '');
  return tagged(0x18, Buffer.from(`${digits}Z`));
}

function integer(bytes: Buffer): Buffer {
  return tagged(0x02, bytes);
}

function identifier(hex: string): Buffer {
  return tagged(0x06, Buffer.from(hex, 'hex'));
}

function sequence(...parts: readonly Buffer[]): Buffer {
  return tagged(0x30, ...parts);
}

function tagged(tag: number, ...parts: readonly Buffer[]): Buffer {
  const content = Buffer.concat(parts);
  const length = content.byteLength;
  const long = length < 0x100 ? Buffer.of(0x81, length) : Buffer.of(0x82, length >> 8, length & 0xff);
  return Buffer.concat([Buffer.of(tag), length < 0x80 ? Buffer.of(length) : long, content]);
}
