/**
 * Node's http. Not imported: an import reads every export of a module at once, and of this one that loads the WebSocket
 * with all of undici, 13 MB and 60 ms of every start, which nothing here ever uses.
 */
export const http = process.getBuiltinModule('node:http');
