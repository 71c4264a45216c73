/**
 * What Node has no function for, of the C library and of the OpenSSL that every Node carries. Bound through an optional
 * dependency: undefined where that has no build for this platform.
 */
export interface Native {
  /** Whether some process holds a lock that keeps others from writing to an open file; takes nothing. */
  isLocked(descriptor: number): boolean | undefined;
  /** Lets the kernel end this process, with exit code 14, after so many seconds, whatever the runtime does then. */
  endAfter(seconds: number): void;
  /** Undefined where this Node shows nothing of its OpenSSL. */
  readonly sha256: NativeSha256 | undefined;
}

/** SHA-256 of OpenSSL (EVP_DigestInit(3)), of which Node gives out only what runs in the caller's thread. */
export interface NativeSha256 {
  /** A context, to be freed. */
  begin(): unknown;
  update(context: unknown, bytes: Uint8Array): void;
  /** The same in a thread of Node's pool. Until it resolves, `bytes` stay as they are and nothing else uses the context. */
  updateAside(context: unknown, bytes: Uint8Array): Promise<void>;
  /** The 32 bytes of the hash. */
  end(context: unknown): Uint8Array;
  free(context: unknown): void;
}

/** struct flock and its numbers, of <fcntl.h> on 64-bit machines. */
interface Platform {
  readonly getLock: number;
  readonly writeLock: number;
  readonly unlocked: number;
  readonly flock: Readonly<Record<string, string>>;
}

const PLATFORMS: Readonly<Record<string, Platform>> = {
  linux: {
    getLock: 5,
    writeLock: 1,
    unlocked: 2,
    flock: { l_type: 'int16', l_whence: 'int16', l_start: 'int64', l_len: 'int64', l_pid: 'int32' },
  },
  darwin: {
    getLock: 7,
    writeLock: 3,
    unlocked: 2,
    flock: { l_start: 'int64', l_len: 'int64', l_pid: 'int32', l_type: 'int16', l_whence: 'int16' },
  },
};

/** signal.h of Linux and macOS. */
const SIGALRM = 14;

type Koffi = typeof import('koffi')['default'];

let loaded: Promise<Native | undefined> | undefined;

export function loadNative(): Promise<Native | undefined> {
  loaded ??= bind().catch(() => undefined);
  return loaded;
}

async function bind(): Promise<Native | undefined> {
  const platform = PLATFORMS[process.platform];
  if (platform === undefined || !['x64', 'arm64'].includes(process.arch)) return undefined;
  const { default: koffi } = await import('koffi');
  const library = koffi.load(null);
  const flock = koffi.struct(platform.flock);
  // fcntl is variadic; on arm64 macOS variadic arguments are passed differently, so it is declared as such.
  const fcntl = library.func('fcntl', 'int', ['int', 'int', '...']);
  const alarm = library.func('alarm', 'uint', ['uint']);
  const setHandler = library.func('signal', 'void *', ['int', 'void *']);
  return {
    isLocked: (descriptor) => {
      const query = { l_type: platform.writeLock, l_whence: 0, l_start: 0, l_len: 0, l_pid: 0 };
      const result: unknown = fcntl(descriptor, platform.getLock, koffi.inout(koffi.pointer(flock)), query);
      return result === 0 ? query.l_type !== platform.unlocked : undefined;
    },
    // `_exit` as the handler: a process 1 is spared from every signal of its own namespace that it does not handle.
    endAfter: (seconds) => {
      setHandler(SIGALRM, library.symbol('_exit'));
      alarm(seconds);
    },
    sha256: bindSha256(koffi),
  };
}

function bindSha256(koffi: Koffi): NativeSha256 | undefined {
  try {
    const library = koffi.load(null);
    const newContext = library.func('void *EVP_MD_CTX_new()');
    const freeContext = library.func('void EVP_MD_CTX_free(void *)');
    const algorithm: unknown = library.func('void *EVP_sha256()')();
    const init = library.func('int EVP_DigestInit_ex(void *, void *, void *)');
    const update = library.func('int EVP_DigestUpdate(void *, void *, size_t)');
    const final = library.func('int EVP_DigestFinal_ex(void *, void *, void *)');
    return {
      begin: () => {
        const context: unknown = newContext();
        assertDone(init(context, algorithm, null));
        return context;
      },
      update: (context, bytes) => assertDone(update(context, bytes, bytes.byteLength)),
      updateAside: async (context, bytes) => {
        const { promise, resolve, reject } = Promise.withResolvers<unknown>();
        update.async(context, bytes, bytes.byteLength, (error: unknown, done: unknown) => {
          if (error === null) resolve(done);
          else reject(error);
        });
        assertDone(await promise);
      },
      end: (context) => {
        const hash = new Uint8Array(SHA256_BYTES);
        assertDone(final(context, hash, null));
        return hash;
      },
      free: (context) => void freeContext(context),
    };
  } catch {
    return undefined;
  }
}

const SHA256_BYTES = 32;

/** OpenSSL answers 1. */
function assertDone(answer: unknown): void {
  if (answer !== 1) throw new Error(`OpenSSL cannot hash: it answers ${String(answer)}`);
}
