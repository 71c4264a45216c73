import type { Mutation } from './mutation.ts';

const CHOICE = { file: 'src/restore/choice.ts', tests: ['src/restore/choice.test.ts'] };

/** Who gets what (docs/format.md, R). */
export const CLAIMS: readonly Mutation[] = [
  {
    rule: 'R1',
    without: 'claims of restores that gave a sign lately',
    ...CHOICE,
    from: 'const isPending = isFresh || (isRunning && !hasPublished);',
    to: 'const isPending = isRunning && !hasPublished;',
  },
  {
    rule: 'R1',
    without: 'claims of pods that run and have not published',
    ...CHOICE,
    from: 'const isPending = isFresh || (isRunning && !hasPublished);',
    to: 'const isPending = isFresh;',
  },
  {
    rule: 'R1',
    without: 'the end of a claim with the first document',
    ...CHOICE,
    from: '(isRunning && !hasPublished)',
    to: 'isRunning',
  },
  {
    rule: 'R1',
    without: 'the end of a claim with three minutes of silence',
    ...CHOICE,
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
    without: 'the same difference in what they choose next',
    ...CHOICE,
    from: 'const wants = other.claims.filter((claim) => !isFirm(claim));',
    to: 'const wants = other.claims;',
  },
  {
    rule: 'R2',
    without: 'what one has in place oneself',
    ...CHOICE,
    from: 'const mine = me.claims.filter(isFirm);',
    to: 'const mine = me.claims.slice(me.claims.length);',
  },
  {
    rule: 'R2',
    without: 'the difference between what one has and what one wants',
    ...CHOICE,
    from: 'const mine = me.claims.filter(isFirm);',
    to: 'const mine = me.claims;',
  },
  {
    rule: 'R2',
    without: 'claims under the own name: they are in place from the first',
    ...CHOICE,
    from: "return kind === 'own' || isSettled;",
    to: "return kind !== 'own' && isSettled;",
  },
  {
    rule: 'R2',
    without: 'what is settled',
    ...CHOICE,
    from: "return kind === 'own' || isSettled;",
    to: "return kind === 'own';",
  },
  {
    rule: 'R2',
    without: 'what was announced before: it is chosen anew',
    ...CHOICE,
    from: '    wants: me.claims,\n',
    to: '    wants: [],\n',
  },
  {
    rule: 'R2',
    without: 'the smaller epoch',
    ...CHOICE,
    from: 'hasEnded || compareEpochs(epoch, me.epoch) < 0;',
    to: 'hasEnded || compareEpochs(epoch, me.epoch) > 0;',
  },
];
