import type { Mutation } from './mutation.ts';

const CHOICE = { file: 'src/restore/choice.ts', tests: ['src/restore/choice.test.ts'] };
const SCENE = { ...CHOICE, file: 'src/restore/scene.ts' };
const TABLE = { ...CHOICE, file: 'src/restore/table.ts' };

/** Who gets what (docs/format.md, R). */
export const CLAIMS: readonly Mutation[] = [
  {
    rule: 'R1',
    without: 'claims of restores that gave a sign lately',
    ...SCENE,
    from: 'const isPending = isFresh || (isRunning && !hasPublished);',
    to: 'const isPending = isRunning && !hasPublished;',
  },
  {
    rule: 'R1',
    without: 'claims of pods that run and have not published',
    ...SCENE,
    from: 'const isPending = isFresh || (isRunning && !hasPublished);',
    to: 'const isPending = isFresh;',
  },
  {
    rule: 'R1',
    without: 'the end of a claim with the first document',
    ...SCENE,
    from: '(isRunning && !hasPublished)',
    to: 'isRunning',
  },
  {
    rule: 'R1',
    without: 'the end of a claim with three minutes of silence',
    ...SCENE,
    from: 'runs.length === 0 && silentMs <= EPOCH_SILENCE_MS_MAX',
    to: 'runs.length === 0 && silentMs >= 0',
  },
  {
    rule: 'R2',
    without: 'respect for what others have in place or had before',
    ...CHOICE,
    from: 'other.claims.filter(isFirm)) table.take',
    to: 'other.claims.slice(other.claims.length)) table.take',
  },
  {
    rule: 'R2',
    without: 'the difference between what others have and what they want',
    ...CHOICE,
    from: 'other.claims.filter(isFirm)) table.take',
    to: 'other.claims) table.take',
  },
  {
    rule: 'R2',
    without: 'what one has in place oneself',
    ...CHOICE,
    from: 'const standing = me.claims.filter(isFirm)',
    to: 'const standing = me.claims.slice(me.claims.length)',
  },
  {
    rule: 'R2',
    without: 'the difference between what one has and what one wants',
    ...CHOICE,
    from: 'const claim of me.claims.filter(isFirm)',
    to: 'const claim of me.claims',
  },
  {
    rule: 'R2',
    without: 'claims under the own name: they are in place from the first',
    ...SCENE,
    from: "return kind === 'own' || isSettled;",
    to: "return kind !== 'own' && isSettled;",
  },
  {
    rule: 'R2',
    without: 'what is settled',
    ...SCENE,
    from: "return kind === 'own' || isSettled;",
    to: "return kind === 'own';",
  },
  {
    rule: 'R2',
    without: 'what was announced before: it is chosen anew',
    ...CHOICE,
    from: 'if (kept !== undefined) return kept;',
    to: '',
  },
  {
    rule: 'R2',
    without: 'what was announced to copy: it is chosen anew',
    ...TABLE,
    from: '[wanted, free, asGood].find',
    to: '[free, asGood].find',
  },
  {
    rule: 'R2',
    without: 'the end of what was announced with the end of the restore',
    ...SCENE,
    from: 'hasEnded ? claims.filter(isFirm) : claims',
    to: 'claims',
  },
  {
    rule: 'R2',
    without: 'that what somebody only might choose is no reason to end',
    ...CHOICE,
    from: 'me.claims.some(isFirm) ? [] : losers',
    to: 'losers',
  },
  {
    rule: 'R2',
    without: 'the smaller epoch',
    ...CHOICE,
    from: 'compareEpochs(epoch, me.epoch) < 0);',
    to: 'compareEpochs(epoch, me.epoch) > 0);',
  },
  {
    rule: 'R2',
    without: 'that who has ended counts as first',
    ...CHOICE,
    from: 'return hasEnded || compareEpochs',
    to: 'return compareEpochs',
  },
];
