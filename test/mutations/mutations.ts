import { AGE } from './age.ts';
import { CLAIMS } from './claims.ts';
import { COLLECTION_RULES } from './collection.ts';
import { COMPLETENESS } from './completeness.ts';
import { FAMILY_QUALITY } from './families.ts';
import type { Mutation } from './mutation.ts';
import { QUALITY } from './quality.ts';

/** Every rule of docs/rules.md, one condition after another. */
export const MUTATIONS: readonly Mutation[] = [
  ...QUALITY,
  ...FAMILY_QUALITY,
  ...COMPLETENESS,
  ...AGE,
  ...CLAIMS,
  ...COLLECTION_RULES,
];
