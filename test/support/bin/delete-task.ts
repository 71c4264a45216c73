// Deletes a task directory under its .checkpoint whenever it is told to, and lays it out again: what Kafka's state cleaner
// does to an unassigned task, slowed down. Arguments: template, task directory. Forked: says `ready` when the directory
// is there, whole, by rename; answers any message with the times at which the deletion began and ended.
import { renameSync } from 'node:fs';
import { deleteInDirectoryOrder, layOutAgain } from '../deletion.ts';

/** Between two steps: one deletion of 30 files takes some 15 ms; Kafka's own take 3 to 65. */
const STEP_PAUSE_MS_MAX = 0.5;
/** In one round of twenty the deletion stands still once, as in a pause of the garbage collector. */
const STANDSTILL_SHARE = 0.05;
const STANDSTILL_MS = 25;
/** So long after the message it begins, at most: a look that began at the message is in some step by then. */
const DELAY_MS_MAX = 6;

const [template = '', task = ''] = process.argv.slice(2);
const sleeper = new Int32Array(new SharedArrayBuffer(4));
const sleep = (ms: number): void => void Atomics.wait(sleeper, 0, 0, ms);
const nowMs = (): number => performance.timeOrigin + performance.now();

function layOut(): void {
  layOutAgain(template, `${task}.staged`);
  renameSync(`${task}.staged`, task);
  process.send?.('ready');
}

function deleteTask(): void {
  sleep(Math.random() * DELAY_MS_MAX);
  const standstillAtStep = Math.random() < STANDSTILL_SHARE ? Math.floor(Math.random() * 30) : undefined;
  const beganMs = nowMs();
  let step = 0;
  for (const _ of deleteInDirectoryOrder(task)) {
    sleep(step === standstillAtStep ? STANDSTILL_MS : Math.random() * STEP_PAUSE_MS_MAX);
    step += 1;
  }
  process.send?.({ beganMs, endedMs: nowMs() });
}

process.on('message', () => {
  deleteTask();
  layOut();
});
process.on('disconnect', () => process.exit());
layOut();
