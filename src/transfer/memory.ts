// What sending and fetching keep in memory; `config` prints it.

/** Bytes of compressed stretches that wait to be sent, all uploads together: three stretches of 16 MiB. */
export const COMPRESSION_MEMORY_BYTES = 48 * 1024 * 1024;

/** Buffers of one object in flight: the chunk being read or written, and one in the codec or in the socket. */
export const OBJECT_MEMORY_BYTES = 2 * 1024 * 1024;
