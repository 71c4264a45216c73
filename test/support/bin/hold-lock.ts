import { openSync } from 'node:fs';
import koffi from 'koffi';

/**
 * node hold-lock.ts FILE: takes the lock that Kafka Streams takes on FILE, with Java's FileChannel.tryLock: a POSIX
 * write lock on the whole file. Says `held` or `refused` on stdout, and keeps it until its stdin ends.
 */
const [path = ''] = process.argv.slice(2);
const isMac = process.platform === 'darwin';
const [writeLock, setLock] = isMac ? [3, 8] : [1, 6];
const types = { l_type: 'int16', l_whence: 'int16', l_start: 'int64', l_len: 'int64', l_pid: 'int32' };
const { l_type, l_whence, ...range } = types;
const flock = koffi.struct(isMac ? { ...range, l_type, l_whence } : types);
const fcntl = koffi.load(null).func('fcntl', 'int', ['int', 'int', '...']);

const lock = { l_type: writeLock, l_whence: 0, l_start: 0, l_len: 0, l_pid: 0 };
const result: unknown = fcntl(openSync(path, 'r+'), setLock, koffi.pointer(flock), lock);
process.stdout.write(result === 0 ? 'held\n' : 'refused\n');
process.stdin.resume();
