import { FAMILY_QUALITY } from './families.ts';
import type { Mutation } from './mutation.ts';
import { QUALITY } from './quality.ts';

/** Every rule of docs/rules.md, one condition after another. */
export const MUTATIONS: readonly Mutation[] = [...QUALITY, ...FAMILY_QUALITY];
