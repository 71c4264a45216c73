import { installServers } from '../s3-server/real-servers.ts';

await installServers();
