// Loaded with `node -r` before anything else, so it must parse on any Node: says in one sentence what
// is wrong where the npm package `node` could not bring its runtime (npm refused install scripts).
'use strict';
var wanted = [24, 12];
var found = process.versions.node.split('.').map(Number);
if (found[0] < wanted[0] || (found[0] === wanted[0] && found[1] < wanted[1])) {
  process.stderr.write(
    'warmstate needs Node ' +
      wanted.join('.') +
      ' or newer, this is ' +
      process.versions.node +
      '\n' +
      'try: run `npm ci` with install scripts allowed (they bring the right Node), or put a newer Node on the PATH\n',
  );
  process.exit(2);
}
