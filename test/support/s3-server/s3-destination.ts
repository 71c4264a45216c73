import { systemClock, systemRandom } from '../../../src/base/clock.ts';
import { openS3Store, type S3Store } from '../../../src/storage/s3-store.ts';
import type { TestServer } from './real-servers.ts';

/** The S3 store on a server, as the program opens it; credentials come from the environment of the s3 project. */
export function openStoreOn(server: Omit<TestServer, keyof AsyncDisposable>, prefix: string): S3Store {
  const { endpoint, region, bucket } = server;
  const options = { endpoint, region, pathStyle: true, sse: undefined, kmsKeyId: undefined, storageClass: undefined };
  return openS3Store({ bucket, prefix }, options, { clock: systemClock, random: systemRandom });
}

/** The same for the program, in its environment. */
export function destinationOn(
  server: Omit<TestServer, keyof AsyncDisposable>,
  prefix: string,
): Readonly<Record<string, string>> {
  return {
    WARMSTATE_DESTINATION: `s3://${server.bucket}/${prefix}`,
    WARMSTATE_S3_ENDPOINT: server.endpoint,
    AWS_ACCESS_KEY_ID: server.identity.accessKeyId,
    AWS_SECRET_ACCESS_KEY: server.identity.secretAccessKey,
  };
}
