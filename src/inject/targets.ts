import { Failure, isFailure } from '../base/failure.ts';
import { remove } from './injection.ts';
import { type Answers, findPodApplication, type PodApplication } from './pod.ts';
import type { ConfigMaps } from './properties.ts';
import type { Remark } from './remarks.ts';
import { INJECT_LABEL, isInjectable, type Workload } from './workload.ts';

/** A workload that warmstate is added to. */
export interface Target {
  readonly workload: Workload;
  /** Without what an earlier injection left. */
  readonly clean: Workload;
  readonly application: PodApplication;
}

export interface Choice {
  readonly targets: readonly [Target, ...Target[]];
  /** On workloads that were left alone. */
  readonly remarks: readonly Remark[];
}

/**
 * Which workloads are meant. A label says it; without one the only workload is, or of several those that run a Kafka
 * Streams application without any doubt. Refuses what is meant and not understood.
 */
export function chooseTargets(workloads: readonly Workload[], answers: Answers, configMaps: ConfigMaps): Choice {
  const possible = workloads.filter(({ wish }) => wish !== 'unwanted');
  const wanted = possible.filter(({ wish }) => wish === 'wanted');
  const candidates = wanted.length > 0 ? wanted : possible;
  const isMeant = wanted.length > 0 || candidates.length === 1;
  assertOneIsAnswered(candidates, answers);

  const found = candidates.flatMap((workload) => {
    const clean = { ...workload, tree: remove(workload) };
    const application = naming(workload, () =>
      findPodApplication(clean, isInjectable(workload) ? answers : NO_ANSWERS, configMaps),
    );
    if (application !== undefined) return isMeant || isCertain(application) ? [{ workload, clean, application }] : [];
    if (isMeant && (isInjectable(workload) || wanted.length > 0)) throw noApplicationId(workload);
    return [];
  });
  const others = found.filter(({ workload }) => !isInjectable(workload));
  const [first, ...more] = found.filter(({ workload }) => isInjectable(workload));
  if (others[0] !== undefined && (isMeant || first === undefined)) throw unknownKind(others[0].workload);
  if (first === undefined) throw nothingFound();
  return { targets: [first, ...more], remarks: others.map(leftAlone) };
}

/** Says of which workload a refusal is. */
export function naming<T>({ title }: Workload, decide: () => T): T {
  try {
    return decide();
  } catch (error) {
    if (!isFailure(error)) throw error;
    const hint = error.hint === undefined ? {} : { hint: error.hint };
    throw new Failure(error.kind, `cannot inject into ${title}: ${error.message}`, { cause: error, ...hint });
  }
}

const NO_ANSWERS: Answers = { applicationId: undefined, processingGuarantee: undefined, stateDir: undefined };

/** Beside others a guess is not enough: every Spring application has a name, and not every application id is Kafka's. */
function isCertain({ applicationId, container }: PodApplication): boolean {
  return !applicationId.isAssumed && /kafka|streams|bootstrap/i.test(JSON.stringify(container));
}

/** An answer is for one application. */
function assertOneIsAnswered(candidates: readonly Workload[], answers: Answers): void {
  const { applicationId, processingGuarantee, stateDir } = answers;
  const isAnswered = [applicationId, processingGuarantee, stateDir].some((answer) => answer !== undefined);
  const titles = candidates.filter(isInjectable).map(({ title }) => title);
  if (!isAnswered || titles.length < 2) return;
  throw new Failure('invalid', `cannot tell which of ${titles.join(', ')} the flags are for`, {
    hint: `the label ${INJECT_LABEL}: "true" on one of them, or one manifest after the other`,
  });
}

function noApplicationId({ title }: Workload): Failure {
  return new Failure('invalid', `cannot inject into ${title}: its application.id is not in the manifest`, {
    hint: '--application-id, or the annotation warmstate.dev/application-id on the pod',
  });
}

function unknownKind({ title, kind }: Workload): Failure {
  const hint =
    kind === 'Pod'
      ? 'the manifest of what makes the pod'
      : `a Deployment or a StatefulSet, or the label ${INJECT_LABEL}: "false" to leave it alone`;
  return new Failure('invalid', `cannot inject into ${title}: only Deployments and StatefulSets are understood`, {
    hint,
  });
}

function nothingFound(): Failure {
  const message = 'cannot inject: no Deployment or StatefulSet here certainly runs a Kafka Streams application';
  return new Failure('invalid', message, {
    hint: `the label ${INJECT_LABEL}: "true" on the one that does, or --application-id with its manifest alone`,
  });
}

/** Such as a job that resets the application: it has the same environment. */
function leftAlone({ workload: { title } }: Target): Remark {
  return { level: 'warn', message: `${title}: it has an application.id too, and stays as it is` };
}
