import { type Finding, type PlainAnswer, type Probe, probeServer } from '../storage/conformance.ts';
import { findHarmfulRules } from '../storage/lifecycle.ts';
import { type Check, ok, warn } from './doctor-check.ts';

// What a server shows beside the port. Nothing that warmstate does relies on these: they are for the people who run it.

export interface BucketFacts {
  /** Of the whole store, as the server knows it: rules are about such keys. */
  readonly prefix: string;
  /** `--s3-sse` */
  readonly encryption: string | undefined;
  readonly findings: readonly Finding[];
  /** To GetBucketLifecycleConfiguration. */
  readonly lifecycle: PlainAnswer;
}

const EXISTING = 'put what is there, under If-None-Match: *';
const CHANGED = 'put over something else, under If-Match';
const ENCRYPTED = 'put, encrypted at rest';

/** `probe` lies under a prefix that nobody else uses; nothing is left there. */
export async function findBucketFacts(
  probe: Probe,
  of: Pick<BucketFacts, 'prefix' | 'encryption'>,
): Promise<BucketFacts> {
  const findings = await probeServer(probe, [EXISTING, CHANGED, ENCRYPTED]);
  const lifecycle = await probe.ask({ method: 'GET', query: { lifecycle: '' } }, probe.signal);
  return { ...of, findings, lifecycle };
}

export function checkBucket(facts: BucketFacts): readonly Check[] {
  return [checkEncryption(facts), checkConditions(facts), ...checkLifecycle(facts)];
}

/** That what was asked for is done has been seen by the put: it fails otherwise. */
function checkEncryption({ encryption, findings }: BucketFacts): Check {
  if (encryption !== undefined) return ok('encryption', `${encryption}, as --s3-sse asks for`);
  const [status = '', echo = ''] = answerTo(ENCRYPTED, findings).split(', ');
  if (!status.startsWith('200')) return ok('encryption', `not asked for; AES256 would be refused (${status})`);
  const would = echo === 'AES256' ? 'be done, and told' : 'be ignored by this server, and every put fail';
  return ok('encryption', `not asked for; AES256 would ${would}`);
}

function checkConditions({ findings }: BucketFacts): Check {
  const answers = [EXISTING, CHANGED].map((question) => answerTo(question, findings).split(',', 1).join());
  if (answers.every((answer) => answer.startsWith('412'))) {
    return ok('conditions', 'If-None-Match and If-Match are respected; warmstate relies on neither');
  }
  const said = `If-None-Match answers ${answers[0]}, If-Match ${answers[1]}`;
  return ok('conditions', `not respected (${said}); warmstate does not rely on them`);
}

function checkLifecycle({ lifecycle, prefix }: BucketFacts): readonly Check[] {
  const { status, body } = lifecycle;
  if (status === 404) return [ok('lifecycle', 'the bucket has no rules')];
  if (status === 403) return [ok('lifecycle', 'nobody may look at the rules with these rights')];
  if (status !== 200) return [ok('lifecycle', `the server tells no rules (${status})`)];
  const rules = findHarmfulRules(Buffer.from(body).toString(), prefix);
  if (rules.length === 0) return [ok('lifecycle', 'no rule takes away what is stored here')];
  const where = prefix === '' ? 'this bucket' : `keys that begin with ${prefix}`;
  return rules.map(({ name, does, when }) => {
    const harm = does === 'removes' ? 'removes objects' : 'brings objects to where they cannot be read at once';
    const message = `the rule ${name} ${harm} ${when}: snapshots need tables that are older`;
    return warn('lifecycle', message, `except ${where} from the rule: prune removes what nobody needs`);
  });
}

function answerTo(question: string, findings: readonly Finding[]): string {
  return findings.find((finding) => finding.question === question)?.answer ?? 'nothing';
}
