// Lays a task directory out and deletes it under its .checkpoint, over and over: what Kafka's state cleaner does to an
// unassigned task, slowed down. Arguments: template, task directory, rounds. The directory appears whole, by rename.
import { renameSync } from 'node:fs';
import { deleteInDirectoryOrder, layOutAgain } from '../deletion.ts';

/** Between two steps: one deletion of 60 files takes some 15 ms; Kafka's own take 3 to 65. */
const STEP_PAUSE_MS_MAX = 0.25;
/** In one round of twenty the deletion stands still once, as in a pause of the garbage collector. */
const STANDSTILL_SHARE = 0.05;
const STANDSTILL_MS = 25;
/** How long the directory is whole, at most. */
const WHOLE_MS_MAX = 8;

const [template = '', task = '', rounds = ''] = process.argv.slice(2);
const sleeper = new Int32Array(new SharedArrayBuffer(4));
const sleep = (ms: number): void => void Atomics.wait(sleeper, 0, 0, ms);

for (let round = 0; round < Number(rounds); round++) {
  layOutAgain(template, `${task}.staged`);
  renameSync(`${task}.staged`, task);
  sleep(Math.random() * WHOLE_MS_MAX);
  const standstillAtStep = Math.random() < STANDSTILL_SHARE ? Math.floor(Math.random() * 60) : undefined;
  let step = 0;
  for (const _ of deleteInDirectoryOrder(task)) {
    sleep(step === standstillAtStep ? STANDSTILL_MS : Math.random() * STEP_PAUSE_MS_MAX);
    step += 1;
  }
}
