import { dirname, resolve } from 'node:path';
import type { Clock } from '../../src/base/clock.ts';
import type { DiskSpace } from '../../src/base/disk-space.ts';
import { Failure } from '../../src/base/failure.ts';
import type { FileAccess, FileFacts, HeldPath } from '../../src/base/file-access.ts';
import type { DiskOperations } from '../../src/restore/disk.ts';
import type { FileWriter } from '../../src/transfer/sink.ts';
import type { ApplicationEntry, ApplicationFiles } from './application-files.ts';

interface Options {
  /** What stamps are taken from; where it steps back, so do they. */
  readonly clock: Pick<Clock, 'nowMs'>;
  readonly sizeBytes?: number;
  /** Decides the order in which a directory lists what it holds; without one it is that in which it came. */
  readonly seed?: number;
}

interface InodeFacts {
  readonly number: bigint;
  readonly birthtimeNs: bigint;
  mtimeNs: bigint;
  ctimeNs: bigint;
  /** In how many places it lies: it takes space until that is 0 and nobody holds it. */
  links: number;
  held: number;
}

interface FileInode extends InodeFacts {
  readonly kind: 'file';
  /** The first `sizeBytes` of it are the file. */
  buffer: Uint8Array;
  sizeBytes: number;
}

interface DirectoryInode extends InodeFacts {
  readonly kind: 'directory';
  readonly children: Map<string, Inode>;
}

interface LinkInode extends InodeFacts {
  readonly kind: 'link';
  readonly target: string;
}

type Inode = FileInode | DirectoryInode | LinkInode;

/** Where a path leads: a directory that is there, and a name in it, under which something lies or not. */
interface Place {
  readonly directory: DirectoryInode;
  readonly name: string;
  readonly inode: Inode | undefined;
}

const SIZE_BYTES = 2 ** 40;
const LINKS_FOLLOWED_MAX = 40;
const NOTHING = new Uint8Array(0);

/**
 * A file system in memory, for whoever looks (`files`), who restores (`operations`) and the application, whose verbs are
 * its own. It keeps time by a given clock and does everything within microtasks, so that what happens on it follows from
 * its callers alone. What is asked of the real ones in `disk-contract.ts` holds here, too.
 */
export class MemoryDisk implements ApplicationFiles {
  readonly files: FileAccess;
  readonly operations: DiskOperations;
  /** Another one where the volume is mounted anew. */
  device = 1n;
  readonly #clock: Pick<Clock, 'nowMs'>;
  readonly #sizeBytes: number;
  readonly #seed: number | undefined;
  readonly #root: DirectoryInode;
  /** Where paths led that were asked for, until anything comes or goes: most of the time the same are asked for again. */
  readonly #known = new Map<string, Place | 'ENOENT' | 'ENOTDIR'>();
  #inodes = 0n;
  /** Numbers of inodes that are gone; the next one gets the last of them, as on most file systems. */
  readonly #free: bigint[] = [];
  #usedBytes = 0;
  #held = 0;
  #stampedMs = Number.NaN;
  #stampNs = 0n;

  constructor(options: Options) {
    this.#clock = options.clock;
    this.#sizeBytes = options.sizeBytes ?? SIZE_BYTES;
    this.#seed = options.seed;
    this.#root = { kind: 'directory', ...this.#newInode(), children: new Map() };
    this.files = {
      list: async (path) => this.#look(path, 'followed', (inode) => this.#namesIn(inode)),
      stat: async (path) => this.#look(path, 'itself', (inode) => this.#factsOf(inode)),
      hold: async (path) => this.#look(path, 'itself', (inode) => this.#hold(path, inode)),
    };
    this.operations = {
      makeDirectory: async (path) => this.makeDirectory(path),
      list: async (path) => this.#children(path).map(([name]) => name),
      remove: async (path) => this.removeTree(path),
      rename: async (from, to) => this.rename(from, to),
      copy: async (from, to) => this.#copy(from, to),
      create: async (path) => this.#create(path),
      write: async (path, bytes) => this.write(path, bytes),
      stamp: async (path, seconds) => this.stamp(path, seconds),
      sync: async (path) => this.#sync(path),
    };
  }

  /** Descriptors that are open. */
  get held(): number {
    return this.#held;
  }

  /** As `AgentWorld.askSpace`. */
  get askSpace(): () => Promise<DiskSpace> {
    return async () => ({ freeBytes: this.#sizeBytes - this.#usedBytes, sizeBytes: this.#sizeBytes });
  }

  makeDirectory(path: string): void {
    let directory = this.#root;
    const names = namesIn(path);
    for (const [index, name] of names.entries()) {
      let child = directory.children.get(name);
      if (child === undefined) {
        child = { kind: 'directory', ...this.#newInode(), children: new Map() };
        this.#enter(directory, name, child);
      }
      const there = child.kind === 'link' ? this.#follow(child) : child;
      if (there === undefined || there.kind !== 'directory')
        throw systemError(index === names.length - 1 ? 'EEXIST' : 'ENOTDIR', 'mkdir', path);
      directory = there;
    }
  }

  write(path: string, content: Uint8Array | string): void {
    const bytes = typeof content === 'string' ? Buffer.from(content) : content;
    const file = this.#open(path);
    this.#resize(file, bytes.byteLength);
    file.buffer = new Uint8Array(bytes);
    this.#touch(file);
  }

  append(path: string, content: Uint8Array | string): void {
    const bytes = typeof content === 'string' ? Buffer.from(content) : content;
    const file = this.#open(path);
    this.#put(file, bytes, file.sizeBytes);
  }

  rename(from: string, to: string): void {
    const [source, inode] = this.#existing(from, 'rename');
    const target = this.#place(to, 'rename');
    if (target.inode === inode) return;
    if (inode.kind === 'directory' && isBelow(to, from)) throw systemError('EINVAL', 'rename', from);
    if (target.inode !== undefined) {
      const isDirectory = target.inode.kind === 'directory';
      if (isDirectory && inode.kind !== 'directory') throw systemError('EISDIR', 'rename', from);
      if (!isDirectory && inode.kind === 'directory') throw systemError('ENOTDIR', 'rename', from);
      if (target.inode.kind === 'directory' && target.inode.children.size > 0)
        throw systemError('ENOTEMPTY', 'rename', from);
      this.#leave(target.directory, target.name, target.inode);
    }
    this.#enter(target.directory, target.name, inode);
    this.#leave(source.directory, source.name, inode);
  }

  unlink(path: string): void {
    const [place, inode] = this.#existing(path, 'unlink');
    if (inode.kind === 'directory') throw systemError('EISDIR', 'unlink', path);
    this.#leave(place.directory, place.name, inode);
  }

  removeDirectory(path: string): void {
    const [place, inode] = this.#existing(path, 'rmdir');
    if (inode.kind !== 'directory') throw systemError('ENOTDIR', 'rmdir', path);
    if (inode.children.size > 0) throw systemError('ENOTEMPTY', 'rmdir', path);
    this.#leave(place.directory, place.name, inode);
  }

  removeTree(path: string): void {
    const place = this.#find(path);
    if (place === 'ENOTDIR') throw systemError(place, 'rm', path);
    if (place === 'ENOENT' || place.inode === undefined) return;
    this.#empty(place.inode);
    this.#leave(place.directory, place.name, place.inode);
  }

  entries(path: string, order: 'listed' | 'sorted'): readonly ApplicationEntry[] {
    const listed = this.#children(path).map(([name, inode]) => ({ name, isDirectory: inode.kind === 'directory' }));
    return order === 'listed' ? listed : listed.toSorted((left, right) => (left.name < right.name ? -1 : 1));
  }

  mtimeNs(path: string): bigint | undefined {
    return this.#look(path, 'followed', (inode) => inode.mtimeNs);
  }

  stamp(path: string, seconds: number): void {
    const inode = this.#resolve(path, 'utime');
    const wholeSeconds = Math.floor(seconds);
    inode.mtimeNs = BigInt(wholeSeconds) * 1_000_000_000n + BigInt(Math.floor((seconds - wholeSeconds) * 1e9));
    inode.ctimeNs = this.#nowNs();
  }

  /** The content of a file; undefined where none lies. */
  read(path: string): Uint8Array | undefined {
    return this.#look(path, 'followed', (inode) =>
      inode.kind === 'file' ? inode.buffer.slice(0, inode.sizeBytes) : undefined,
    );
  }

  /** Makes a symbolic link. */
  link(target: string, path: string): void {
    const place = this.#place(path, 'symlink');
    if (place.inode !== undefined) throw systemError('EEXIST', 'symlink', path);
    this.#enter(place.directory, place.name, {
      kind: 'link',
      ...this.#newInode(),
      target: resolve(dirname(path), target),
    });
  }

  /** What is found of what lies under a path; undefined where nothing does, or no directory is on the way. */
  #look<T>(path: string, end: 'itself' | 'followed', work: (inode: Inode) => T): T | undefined {
    const place = this.#find(path);
    if (typeof place === 'string') return undefined;
    const inode = end === 'followed' && place.inode?.kind === 'link' ? this.#follow(place.inode) : place.inode;
    return inode === undefined ? undefined : work(inode);
  }

  #namesIn(inode: Inode): readonly string[] | undefined {
    return inode.kind === 'directory' ? this.#listed(inode).map(([name]) => name) : undefined;
  }

  #children(path: string): readonly (readonly [string, Inode])[] {
    const inode = this.#resolve(path, 'scandir');
    if (inode.kind !== 'directory') throw systemError('ENOTDIR', 'scandir', path);
    return this.#listed(inode);
  }

  #listed({ children }: DirectoryInode): readonly (readonly [string, Inode])[] {
    const seed = this.#seed;
    if (seed === undefined) return [...children];
    const placed = Array.from(children, (child) => ({ child, place: mix(Number(child[1].number) ^ seed) }));
    return placed.sort((left, right) => left.place - right.place).map(({ child }) => child);
  }

  #hold(path: string, inode: Inode): HeldPath {
    if (inode.kind === 'link') throw new Failure('invalid', `cannot open ${path}: it is a symbolic link`);
    const close = this.#keep(inode);
    return {
      facts: this.#factsOf(inode),
      stat: async () => this.#factsOf(inode),
      read: async (buffer, position) => {
        if (inode.kind === 'directory') throw new Failure('unavailable', `cannot read ${path}: EISDIR`);
        const part = inode.buffer.subarray(position, Math.min(inode.sizeBytes, position + buffer.byteLength));
        buffer.set(part);
        return part.byteLength;
      },
      [Symbol.asyncDispose]: async () => close(),
    };
  }

  #create(path: string): FileWriter {
    const place = this.#place(path, 'open');
    if (place.inode !== undefined) throw systemError('EEXIST', 'open', path);
    const file: FileInode = { kind: 'file', ...this.#newInode(), buffer: NOTHING, sizeBytes: 0 };
    this.#enter(place.directory, place.name, file);
    const close = this.#keep(file);
    return {
      write: async (bytes, position) => this.#put(file, bytes, position),
      [Symbol.asyncDispose]: async () => close(),
    };
  }

  #copy(from: string, to: string): void {
    const source = this.#resolve(from, 'copyfile');
    const place = this.#place(to, 'copyfile');
    if (place.inode !== undefined) throw systemError('EEXIST', 'copyfile', to);
    if (source.kind !== 'file') throw systemError('EISDIR', 'copyfile', from);
    this.#claim(source.sizeBytes);
    const buffer = source.buffer.slice(0, source.sizeBytes);
    const file: FileInode = { kind: 'file', ...this.#newInode(), buffer, sizeBytes: buffer.byteLength };
    this.#enter(place.directory, place.name, file);
  }

  #sync(path: string): void {
    const [, inode] = this.#existing(path, 'open');
    if (inode.kind === 'link') throw systemError('ELOOP', 'open', path);
  }

  /** The file that is written to under a path, made if there is none. */
  #open(path: string): FileInode {
    const place = this.#place(path, 'open');
    const inode = place.inode?.kind === 'link' ? this.#resolve(path, 'open') : place.inode;
    if (inode?.kind === 'file') return inode;
    if (inode !== undefined) throw systemError('EISDIR', 'open', path);
    const file: FileInode = { kind: 'file', ...this.#newInode(), buffer: NOTHING, sizeBytes: 0 };
    this.#enter(place.directory, place.name, file);
    return file;
  }

  #put(file: FileInode, bytes: Uint8Array, position: number): void {
    const end = position + bytes.byteLength;
    if (end > file.buffer.byteLength) {
      const larger = new Uint8Array(Math.max(end, position === 0 ? 0 : file.buffer.byteLength * 2));
      larger.set(file.buffer);
      file.buffer = larger;
    }
    this.#resize(file, Math.max(end, file.sizeBytes));
    file.buffer.set(bytes, position);
    this.#touch(file);
  }

  #resize(file: FileInode, sizeBytes: number): void {
    this.#claim(sizeBytes - file.sizeBytes);
    file.sizeBytes = sizeBytes;
  }

  #claim(bytes: number): void {
    if (this.#usedBytes + bytes > this.#sizeBytes) throw systemError('ENOSPC', 'write');
    this.#usedBytes += bytes;
  }

  #keep(inode: Inode): () => void {
    inode.held += 1;
    this.#held += 1;
    let isOpen = true;
    return () => {
      if (!isOpen) return;
      isOpen = false;
      inode.held -= 1;
      this.#held -= 1;
      this.#release(inode);
    };
  }

  #release(inode: Inode): void {
    if (inode.links > 0 || inode.held > 0) return;
    this.#free.push(inode.number);
    if (inode.kind === 'file') this.#usedBytes -= inode.sizeBytes;
  }

  #enter(directory: DirectoryInode, name: string, inode: Inode): void {
    inode.links += 1;
    directory.children.set(name, inode);
    this.#known.clear();
    this.#touch(directory);
  }

  #leave(directory: DirectoryInode, name: string, inode: Inode): void {
    inode.links -= 1;
    if (directory.children.get(name) === inode) directory.children.delete(name);
    this.#known.clear();
    this.#touch(directory);
    inode.ctimeNs = directory.ctimeNs;
    this.#release(inode);
  }

  #empty(inode: Inode): void {
    if (inode.kind !== 'directory') return;
    for (const [name, child] of inode.children) {
      this.#empty(child);
      this.#leave(inode, name, child);
    }
  }

  #touch(inode: Inode): void {
    inode.mtimeNs = this.#nowNs();
    inode.ctimeNs = inode.mtimeNs;
  }

  #newInode(): InodeFacts {
    const nowNs = this.#nowNs();
    const number = this.#free.pop() ?? ++this.#inodes;
    return { number, birthtimeNs: nowNs, mtimeNs: nowNs, ctimeNs: nowNs, links: 0, held: 0 };
  }

  /** Later with each change, by so little that a millisecond holds them all: no two stamps are equal by accident. */
  #nowNs(): bigint {
    const nowMs = this.#clock.nowMs();
    if (nowMs === this.#stampedMs) return ++this.#stampNs;
    this.#stampedMs = nowMs;
    const wholeMs = Math.floor(nowMs);
    this.#stampNs = BigInt(wholeMs) * 1_000_000n + BigInt(Math.floor((nowMs - wholeMs) * 1e6)) + 1n;
    return this.#stampNs;
  }

  #factsOf(inode: Inode): FileFacts {
    return {
      kind: inode.kind === 'link' ? 'other' : inode.kind,
      device: this.device,
      inode: inode.number,
      sizeBytes: inode.kind === 'file' ? inode.sizeBytes : 0,
      mtimeNs: inode.mtimeNs,
      ctimeNs: inode.ctimeNs,
      birthtimeNs: inode.birthtimeNs,
    };
  }

  /** What lies under a path, links followed. */
  #resolve(path: string, verb: string): Inode {
    const [, inode] = this.#existing(path, verb);
    const there = inode.kind === 'link' ? this.#follow(inode) : inode;
    if (there === undefined) throw systemError('ENOENT', verb, path);
    return there;
  }

  #follow(link: LinkInode): Exclude<Inode, LinkInode> | undefined {
    let inode: Inode = link;
    for (let followed = 0; inode.kind === 'link'; followed++) {
      if (followed === LINKS_FOLLOWED_MAX) throw systemError('ELOOP', 'open', link.target);
      const place = this.#find(inode.target);
      if (typeof place === 'string' || place.inode === undefined) return undefined;
      inode = place.inode;
    }
    return inode;
  }

  #existing(path: string, verb: string): readonly [Place, Inode] {
    const place = this.#place(path, verb);
    if (place.inode === undefined) throw systemError('ENOENT', verb, path);
    return [place, place.inode];
  }

  #place(path: string, verb: string): Place {
    const place = this.#find(path);
    if (typeof place === 'string') throw systemError(place, verb, path);
    return place;
  }

  /** Follows links on the way, but not at its end. */
  #find(path: string): Place | 'ENOENT' | 'ENOTDIR' {
    const known = this.#known.get(path);
    if (known !== undefined) return known;
    const place = this.#walk(path);
    this.#known.set(path, place);
    return place;
  }

  #walk(path: string): Place | 'ENOENT' | 'ENOTDIR' {
    const names = namesIn(path);
    const last = names.pop();
    if (last === undefined) return { directory: this.#root, name: '', inode: this.#root };
    let directory = this.#root;
    for (const name of names) {
      const child = directory.children.get(name);
      const there = child?.kind === 'link' ? this.#follow(child) : child;
      if (there === undefined) return 'ENOENT';
      if (there.kind !== 'directory') return 'ENOTDIR';
      directory = there;
    }
    return { directory, name: last, inode: directory.children.get(last) };
  }
}

function namesIn(path: string): string[] {
  return path.split('/').filter((name) => name !== '' && name !== '.');
}

function isBelow(path: string, directory: string): boolean {
  return `${path}/`.startsWith(`${directory}/`);
}

function systemError(code: string, verb: string, path = ''): Error {
  return Object.assign(new Error(`${code}: ${verb} ${path}`), { code });
}

/** The finalizer of MurmurHash3, as an unsigned number. */
function mix(value: number): number {
  let h = Math.imul(value, 0x9e3779b1);
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
