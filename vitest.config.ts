import { defineConfig } from 'vitest/config';

// unit: beside its subject in src/, no processes, servers only in this one.  system: the whole program on recorded
// state.  s3: the S3 store and the whole program on S3 servers, our own strict one and real ones, which it
// installs itself.  services: what else a cluster has, such as a real Prometheus, from Debian's packages.  image: the
// image, built without a daemon, at work.  manifests: what deploy/ ships and inject makes, judged by the code of
// Kubernetes, which it builds with Go.  cluster: a whole Kubernetes of one node, which it builds as well: see
// test/cluster/kit.  kafka: real Kafka Streams, real brokers, real RocksDB; needs a JDK and Maven.
export default defineConfig({
  test: {
    projects: [
      { test: { name: 'unit', include: ['src/**/*.test.ts', 'bench/**/*.test.ts'], testTimeout: 120_000 } },
      { test: { name: 'system', include: ['test/*.test.ts', 'test/system/**/*.test.ts'], testTimeout: 120_000 } },
      {
        test: {
          name: 's3',
          include: ['test/s3/**/*.test.ts'],
          env: { AWS_ACCESS_KEY_ID: 'test', AWS_SECRET_ACCESS_KEY: 'testtest', AWS_EC2_METADATA_DISABLED: 'true' },
          testTimeout: 300_000,
          hookTimeout: 600_000,
          fileParallelism: false,
          // Programs in trouble mostly wait.
          maxConcurrency: 12,
        },
      },
      {
        test: {
          name: 'services',
          include: ['test/services/**/*.test.ts'],
          testTimeout: 180_000,
          hookTimeout: 300_000,
          fileParallelism: false,
        },
      },
      {
        test: {
          name: 'image',
          include: ['test/image/**/*.test.ts'],
          testTimeout: 180_000,
          hookTimeout: 900_000,
          fileParallelism: false,
        },
      },
      {
        test: {
          name: 'manifests',
          include: ['test/manifests/**/*.test.ts'],
          testTimeout: 120_000,
          // Building what judges them takes six minutes of two cores where Go never did it.
          hookTimeout: 1_500_000,
        },
      },
      {
        test: {
          name: 'cluster',
          include: ['test/cluster/**/*.test.ts'],
          globalSetup: ['test/cluster/setup.ts'],
          testTimeout: 600_000,
          // What judges manifests is built here as well, where it never was.
          hookTimeout: 1_500_000,
          fileParallelism: false,
          // Pods mostly wait; three applications leave room on two cores.
          maxConcurrency: 3,
        },
      },
      {
        test: {
          name: 'kafka',
          include: ['test/kafka/**/*.test.ts'],
          testTimeout: 900_000,
          hookTimeout: 900_000,
          // They mostly wait; two brokers and two applications leave room on two cores.
          maxWorkers: 2,
        },
      },
    ],
  },
});
