// The rows of docs/operations.md, told to the compiler: whoever tests failures has a test for each of them.

export const FAILURES = [
  'settings that cannot be used',
  'the port is taken',
  'storage does not answer',
  'storage refuses',
  'the state directory is missing',
  'the state directory cannot be read',
  "the application's directory is missing",
  'one task cannot be captured',
  'warmstate is killed',
  'the last snapshot does not get done in time',
  '`restore` has trouble',
] as const;

/** What a node does to a pod. */
export const NODE_EVENTS = [
  'the application crashes, and is started again in its pod',
  'the sandbox of a pod ends, as when a node restarts',
  'the volume outgrows its `sizeLimit`: the pod is evicted',
  'the sidecar has too little memory',
] as const;

/** A test for every row. */
export type TestOf<Row extends string> = Readonly<Record<Row, () => Promise<void>>>;
