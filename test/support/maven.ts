import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { access, mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { delimiter, join, resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import { Failure, systemErrorCode } from '../../src/base/failure.ts';

const CACHE_DIRECTORY = resolve(import.meta.dirname, '../../.cache/maven');

/**
 * Compiles a Maven project and answers the class path that it runs with, its own classes first. What was built is
 * remembered until a source, the pom or a property changes. A machine without `mvn` is a Failure, not a skipped test.
 */
export async function buildJava(
  project: string,
  build: { readonly properties: Readonly<Record<string, string>>; readonly classesDirectory: string },
): Promise<string> {
  const cached = join(CACHE_DIRECTORY, `${await fingerprint(project, build.properties)}.classpath`);
  const known = await readClassPath(cached);
  if (known !== undefined) return known;
  await mkdir(CACHE_DIRECTORY, { recursive: true });
  const resolved = `${cached}.${process.pid}`;
  const properties = Object.entries(build.properties).map(([name, value]) => `-D${name}=${value}`);
  const goals = ['compile', 'dependency:build-classpath', `-Dmdep.outputFile=${resolved}`];
  await runMaven(project, [...properties, ...goals]);
  const classPath = [join(project, build.classesDirectory), await readFile(resolved, 'utf8')].join(delimiter);
  await writeFile(resolved, classPath);
  await rename(resolved, cached);
  return classPath;
}

async function fingerprint(project: string, properties: Readonly<Record<string, string>>): Promise<string> {
  const hash = createHash('sha256').update(JSON.stringify([project, properties]));
  const sources = await readdir(join(project, 'src'), { recursive: true, withFileTypes: true });
  const paths = sources.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  for (const path of [join(project, 'pom.xml'), ...paths.sort()]) hash.update(path).update(await readFile(path));
  return hash.digest('hex').slice(0, 32);
}

/** Undefined when it was never built, or when some of it has been removed since. */
async function readClassPath(cached: string): Promise<string | undefined> {
  try {
    const classPath = await readFile(cached, 'utf8');
    await Promise.all(classPath.split(delimiter).map((entry) => access(entry)));
    return classPath;
  } catch (error) {
    if (systemErrorCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** A download that breaks off is the usual trouble on a fresh machine, so it is tried twice. */
async function runMaven(project: string, args: readonly string[]): Promise<void> {
  const first = await tryMaven(project, args);
  const second = first === undefined ? undefined : await tryMaven(project, args);
  if (second !== undefined) throw new Failure('invalid', `cannot build ${project} with Maven: ${second}`);
}

/** What Maven said if it failed. */
async function tryMaven(project: string, args: readonly string[]): Promise<string | undefined> {
  const maven = spawn('mvn', ['-q', '-B', '-f', join(project, 'pom.xml'), ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const exit = new Promise<number | null>((done, failed) => maven.on('error', failed).on('exit', done));
  try {
    const [code, stdout, stderr] = await Promise.all([exit, text(maven.stdout), text(maven.stderr)]);
    return code === 0 ? undefined : `${stdout}${stderr}`;
  } catch (error) {
    if (systemErrorCode(error) !== 'ENOENT') throw error;
    throw new Failure('missing', 'cannot run mvn: it is not on the path', {
      cause: error,
      hint: 'install a JDK 17 and Maven; the kafka tests need them',
    });
  }
}
