import { expect, test } from 'vitest';
import { findMount } from './mount-table.ts';

// As a container sees it; the optional fields before the dash come and go.
const TABLE = `\
100 99 0:50 / / rw,relatime master:1 - overlay overlay rw,lowerdir=/a:/b
101 100 0:51 / /proc rw,nosuid - proc proc rw
102 100 8:1 /pods/1/volumes/state /state rw,relatime - ext4 /dev/sda1 rw
103 100 8:1 /pods/1/volumes/state /state\\040two ro,relatime shared:3 master:4 - xfs /dev/sda1 rw
104 100 0:60 / /memory rw,relatime - tmpfs tmpfs rw,size=64k
105 100 8:2 / /sealed rw,relatime - ext4 /dev/sdb1 ro
106 100 8:3 / /state/inner rw,relatime - btrfs /dev/sdc1 rw
107 100 8:4 / /memory ro,relatime - ext4 /dev/sdd1 rw
`;

test.each([
  ['/state', { point: '/state', type: 'ext4', isReadOnly: false }],
  ['/state/kafka-streams', { point: '/state', type: 'ext4', isReadOnly: false }],
  ['/stately', { point: '/', type: 'overlay', isReadOnly: false }],
  ['/state two/x', { point: '/state two', type: 'xfs', isReadOnly: true }],
  ['/sealed/x', { point: '/sealed', type: 'ext4', isReadOnly: true }],
  ['/state/inner/x', { point: '/state/inner', type: 'btrfs', isReadOnly: false }],
  ['/memory/x', { point: '/memory', type: 'ext4', isReadOnly: true }],
])('%s lies on %j: the innermost mount, and of two on one point the later', (path, mount) => {
  expect(findMount(TABLE, path)).toEqual(mount);
});

test('a table that says nothing of a path, or is none, has no mount', () => {
  expect([findMount('', '/state'), findMount('what is this\n', '/state')]).toEqual([undefined, undefined]);
});
