import { loadNative } from './native.ts';

/**
 * Ends this process `afterMs` from now, whatever its runtime does then: also when JavaScript no longer runs, or when
 * the runtime hangs in its own exit. It cannot be taken back.
 *
 * The kernel keeps the time (alarm), and the C library ends the process (`_exit` as the handler of SIGALRM: exit code
 * 14). A signal without a handler would not do: in a container this is process 1, which the kernel spares from every
 * signal of its own namespace that it does not handle, SIGKILL included. Where the C library cannot be called, a timer
 * of the runtime is all there is.
 */
export async function setOuterDeadline(afterMs: number): Promise<void> {
  const native = await loadNative();
  if (native === undefined) setTimeout(endProcess, afterMs).unref();
  else native.endAfter(Math.max(1, Math.ceil(afterMs / 1000)));
}

function endProcess(): void {
  process.kill(process.pid, 'SIGKILL');
  process.abort(); // Process 1 survives its own SIGKILL.
}
