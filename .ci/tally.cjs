// tally.cjs WHAT REPORT [AGAIN]: reads a report of vitest, where what AGAIN says of a file counts instead. WHAT is `counts` (passed,
// failed), `files` (those that failed, one to a line) or `complaints` (what did not pass and why, one to a line).
const { existsSync, readFileSync } = require('node:fs');

const WHY_CHARACTERS = 500;

const [what, ...paths] = process.argv.slice(2);
const files = new Map();
for (const path of paths.filter((one) => existsSync(one))) {
  for (const file of JSON.parse(readFileSync(path, 'utf8')).testResults)
    files.set(file.name.replace(`${process.cwd()}/`, ''), {
      tests: file.assertionResults,
      // It could not even be collected.
      broke: file.status === 'failed' && file.assertionResults.length === 0 ? file.message : undefined,
    });
}

function failing({ tests, broke }) {
  const failed = tests.filter(({ status }) => status !== 'passed');
  const complaints = failed.map(({ fullName, status, failureMessages = [] }) => {
    return `${fullName}: ${status}: ${failureMessages.join(' ').replaceAll(/\s+/g, ' ').slice(0, WHY_CHARACTERS)}`;
  });
  return broke === undefined ? complaints : [broke.replaceAll(/\s+/g, ' ').slice(0, WHY_CHARACTERS)];
}

if (what === 'counts') {
  const all = [...files.values()];
  const tests = all.reduce((sum, file) => sum + Math.max(file.tests.length, failing(file).length), 0);
  const failed = all.reduce((sum, file) => sum + failing(file).length, 0);
  console.log(`${tests - failed} ${failed}`);
} else {
  for (const [name, file] of files) {
    const complaints = failing(file);
    if (what === 'files' && complaints.length > 0) console.log(name);
    if (what === 'complaints') for (const complaint of complaints) console.log(`${name} > ${complaint}`);
  }
}
