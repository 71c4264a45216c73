import { createServer, request } from 'node:http';

// Stands between pods and an S3 server, as a pod itself: see test/support/cluster-slow-store.ts. Passes everything until it is
// asked for /hold: from then on what a snapshot is made of is not answered, as on a link on which only little gets through;
// records are little.

const target = process.env['TARGET'] ?? '';
let isHolding = false;

createServer((asked, answer) => {
  const { method, headers, url: path = '/' } = asked;
  if (path === '/hold') {
    isHolding = true;
    answer.end();
    return;
  }
  if (isHolding && method === 'PUT' && /\/(data|snapshots)\//.test(path)) {
    asked.resume();
    return;
  }
  const passed = request(target, { method, headers, path }, (answered) => {
    answer.writeHead(answered.statusCode ?? 502, answered.headers);
    answered.pipe(answer);
  });
  passed.on('error', () => answer.destroy());
  asked.on('error', () => passed.destroy());
  asked.pipe(passed);
}).listen(7071);
