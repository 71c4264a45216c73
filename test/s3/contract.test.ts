import { afterAll, beforeAll, describe } from 'vitest';
import type { ObjectStore } from '../../src/storage/object-store.ts';
import { SERVER_NAMES, startServer, type TestServer } from '../support/s3-server/real-servers.ts';
import { openStoreOn } from '../support/s3-server/s3-destination.ts';
import { S3Server } from '../support/s3-server/server.ts';
import { type Departures, describeStoreContract } from '../support/store-contract.ts';

const STARTS: Readonly<Record<string, () => Promise<TestServer>>> = {
  'the strict server': () => S3Server.open({ pageKeysMax: 300 }),
  ...Object.fromEntries(SERVER_NAMES.map((name) => [name, () => startServer(name)])),
};

/** rclone keeps objects as files that it writes in place, and their keys as paths. */
const DEPARTURES: Readonly<Record<string, Departures>> = {
  'rclone serve s3': { tearsWhatIsReplaced: true, deletesFolders: true, losesNeighbours: true },
};

/** One server for all promises, and a part of its bucket for each. */
for (const [name, start] of Object.entries(STARTS)) {
  describe(name, () => {
    let server: TestServer | undefined;
    let parts = 0;
    beforeAll(async () => {
      server = await start();
    });
    afterAll(() => server?.[Symbol.asyncDispose]());

    const openPart = async (): Promise<ObjectStore> => {
      if (server === undefined) throw new Error(`${name} is not up`);
      return openStoreOn(server, `part-${++parts}`);
    };
    describeStoreContract(`the S3 store on ${name}`, openPart, DEPARTURES[name]);
  });
}
