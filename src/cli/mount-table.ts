/** The file system that holds a path, as the kernel's mount table has it. */
export interface Mount {
  /** Where it is mounted. */
  readonly point: string;
  /** `ext4`, `overlay`, `tmpfs`, `nfs4`, … */
  readonly type: string;
  readonly isReadOnly: boolean;
}

/**
 * The mount of an absolute path without links, from the text of /proc/self/mountinfo (proc_pid_mountinfo(5)):
 * `id parent major:minor root point options [optional…] - type source superoptions`, octal escapes in the names.
 */
export function findMount(table: string, path: string): Mount | undefined {
  let found: Mount | undefined;
  for (const line of table.split('\n')) {
    const [before = '', after = ''] = line.split(' - ', 2);
    const [, , , , point, options] = before.split(' ');
    const [type, , superOptions] = after.split(' ');
    if (point === undefined || options === undefined || type === undefined) continue;
    const mount = {
      point: unescape(point),
      type,
      isReadOnly: [options, superOptions ?? ''].some((words) => words.split(',').includes('ro')),
    };
    // Of two mounts on one point the later one hides the other.
    if (holds(mount.point, path) && mount.point.length >= (found?.point.length ?? 0)) found = mount;
  }
  return found;
}

function holds(point: string, path: string): boolean {
  return point === '/' || path === point || path.startsWith(`${point}/`);
}

function unescape(text: string): string {
  return text.replaceAll(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}
