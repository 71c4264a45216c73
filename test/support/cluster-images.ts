import { createHash } from 'node:crypto';
import { createReadStream, existsSync } from 'node:fs';
import { chmod, cp, mkdir, rename, writeFile } from 'node:fs/promises';
import { basename, delimiter, dirname, join, resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { copyIn, librariesOf } from './image/base-images.ts';
import { run } from './image/run.ts';
import { applicationClassPath, brokerClassPath } from './kafka/java-programs.ts';
import { installVersitygw } from './s3-server/installed.ts';

const CACHE_DIRECTORY = resolve(import.meta.dirname, '../../.cache/cluster');

/** Of Kafka Streams. */
export const STREAMS_VERSION = '4.2.2';
/** The application and the broker of test/streams-app, with this machine's Java. */
export const KAFKA_IMAGE = 'registry.example/kafka-test:1';
/** versitygw. */
export const S3_IMAGE = 'registry.example/s3-test:1';
/** That the S3 server has; the one that deploy/ names. */
export const BUCKET = 'my-bucket';

const JAVA_FLAGS = [
  '-Xmx256m',
  '-XX:+UseSerialGC',
  '-XX:TieredStopAtLevel=1',
  '-Dorg.slf4j.simpleLogger.defaultLogLevel=warn',
];

/** Where a program of test/streams-app lies in its image, as a class path. */
const PLACES = { application: '/opt/application', broker: '/opt/broker' } as const;

/** The command of a container that runs one. */
export function javaCommand(program: keyof typeof PLACES): readonly string[] {
  const mainClass = program === 'application' ? 'warmstate.Application' : 'warmstate.Broker';
  return ['/opt/jre/bin/java', ...JAVA_FLAGS, '-cp', `${PLACES[program]}/classes:${PLACES[program]}/*`, mainClass];
}

/** Archives, as `docker save` writes them, of what runs beside warmstate in the cluster; made anew in `directory`. */
export async function makeTestImages(directory: string): Promise<readonly string[]> {
  const kafka = join(directory, 'kafka');
  await cp(await javaRuntime(), join(kafka, 'opt/jre'), { recursive: true });
  await copyLibraries([join(kafka, 'opt/jre/bin/java'), join(kafka, 'opt/jre/lib/server/libjvm.so')], kafka);
  await copyClassPath(await applicationClassPath(STREAMS_VERSION), join(kafka, PLACES.application));
  await copyClassPath(await brokerClassPath(), join(kafka, PLACES.broker));

  const s3 = join(directory, 's3');
  const server = await installVersitygw('v1.8.0');
  await mkdir(join(s3, 'data/objects', BUCKET), { recursive: true });
  await mkdir(join(s3, 'data/metadata'), { recursive: true });
  await cp(server, join(s3, 'versitygw'));
  await copyLibraries([server], s3);

  return [await archive(kafka, KAFKA_IMAGE), await archive(s3, S3_IMAGE)];
}

/** The parts of this machine's JDK that Kafka needs: half a minute of a core, so it is kept. */
async function javaRuntime(): Promise<string> {
  const version = createHash('sha256').update(await run('java', ['--version'], {}));
  const place = join(CACHE_DIRECTORY, `jre-${version.digest('hex').slice(0, 8)}`);
  if (existsSync(place)) return place;
  await mkdir(CACHE_DIRECTORY, { recursive: true });
  const modules = 'java.se,jdk.unsupported,jdk.httpserver,jdk.management,jdk.crypto.ec,jdk.zipfs';
  const thrift = ['--no-man-pages', '--no-header-files', '--strip-java-debug-attributes'];
  await run('jlink', ['--add-modules', modules, ...thrift, '--output', `${place}.${process.pid}`], {});
  await rename(`${place}.${process.pid}`, place);
  return place;
}

/** With what older libraries are linked with that Java brings along, RocksDB among them: it is part of libc today. */
async function copyLibraries(programs: readonly string[], root: string): Promise<void> {
  const libraries = new Set((await Promise.all(programs.map(librariesOf))).flat());
  const libc = [...libraries].find((path) => path.endsWith('/libc.so.6')) ?? '';
  for (const stub of ['libpthread.so.0', 'librt.so.1', 'libdl.so.2']) libraries.add(join(dirname(libc), stub));
  for (const library of libraries) if (!library.startsWith(root)) await copyIn(library, root);
}

/** Its first entry is a directory of classes. */
async function copyClassPath(classPath: string, place: string): Promise<void> {
  const [classes = '', ...archives] = classPath.split(delimiter);
  await cp(classes, join(place, 'classes'), { recursive: true });
  for (const each of archives) await cp(each, join(place, basename(each)));
}

/** One layer; no daemon and no registry. */
async function archive(root: string, name: string): Promise<string> {
  await mkdir(join(root, 'tmp'));
  await chmod(join(root, 'tmp'), 0o1777);
  const place = `${root}.image`;
  await mkdir(place);
  const owned = ['--owner=0', '--group=0', '--numeric-owner', '--sort=name', '--mtime=@0'];
  await run('tar', [...owned, '-C', root, '-cf', join(place, 'layer.tar'), '.'], {});
  const layer = createHash('sha256');
  await pipeline(createReadStream(join(place, 'layer.tar')), layer);
  const config = {
    architecture: process.arch === 'arm64' ? 'arm64' : 'amd64',
    os: 'linux',
    config: { Env: ['PATH=/opt/jre/bin'] },
    rootfs: { type: 'layers', diff_ids: [`sha256:${layer.digest('hex')}`] },
  };
  const manifest = [{ Config: 'config.json', RepoTags: [name], Layers: ['layer.tar'] }];
  await writeFile(join(place, 'config.json'), JSON.stringify(config));
  await writeFile(join(place, 'manifest.json'), JSON.stringify(manifest));
  await run('tar', ['-C', place, '-cf', `${root}.tar`, 'manifest.json', 'config.json', 'layer.tar'], {});
  return `${root}.tar`;
}
