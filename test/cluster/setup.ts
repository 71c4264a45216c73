import type { TestProject } from 'vitest/node';
import { ClusterNode, runInside } from '../support/cluster-node.ts';
import { exportImage } from '../support/image/image.ts';

/** As the manifests of deploy/ call it, so that they run unchanged. */
const IMAGE = 'registry.example/warmstate:0.1.0';

/**
 * One cluster for all tests, with the image in it. WARMSTATE_TEST_CLUSTER names the directory of one that
 * test/cluster/kit/run.sh holds already, for who writes tests: then that is used, and stays.
 */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  await using parts = new AsyncDisposableStack();
  const image = exportImage(IMAGE);
  // Its failure is thrown below; nobody listens while the cluster starts.
  image.catch(() => undefined);
  const held = process.env['WARMSTATE_TEST_CLUSTER'];
  const directory = held ?? parts.use(await ClusterNode.start()).directory;
  await runInside(directory, ['ctr', '-n', 'k8s.io', 'images', 'import', await image]);
  project.provide('cluster', directory);
  const started = parts.move();
  return () => started.disposeAsync();
}
