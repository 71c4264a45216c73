// What sending and fetching keep in memory; `config` prints it.

/** Bytes of compressed stretches that wait to be sent, all uploads together: one being compressed, three on their way. */
export const COMPRESSION_MEMORY_BYTES = 32 * 1024 * 1024;

/** Of one object in flight: the chunks being read, hashed and written, and the codec with its window. */
export const OBJECT_MEMORY_BYTES = 2 * 1024 * 1024;
