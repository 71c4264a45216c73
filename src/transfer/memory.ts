// What sending and fetching keep in memory; `config` prints it.

/** Bytes of compressed stretches that wait to be sent, all uploads together: one being compressed, three on their way. */
export const COMPRESSION_MEMORY_BYTES = 32 * 1024 * 1024;

/** Buffers of one object in flight: the chunk being read or written, and one in the codec or in the socket. */
export const OBJECT_MEMORY_BYTES = 2 * 1024 * 1024;
