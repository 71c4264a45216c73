import { Failure } from '../base/failure.ts';
import type { RepositoryLocation } from '../repository/keys.ts';
import { listApplications, type Notice, openRepository, type Repository } from '../repository/repository.ts';
import type { ObjectStore } from '../storage/object-store.ts';
import type { CommandContext } from './command.ts';

/** Which repository a command is about, as far as it was said. */
export interface RepositoryChoice {
  readonly applicationId: string | undefined;
  readonly lineage: string | undefined;
}

/** The repositories that a choice leaves open; a choice that names everything is one, whether anything lies there or not. */
export async function findRepositories(
  store: ObjectStore,
  { applicationId, lineage }: RepositoryChoice,
  { signal }: Pick<CommandContext, 'signal'>,
): Promise<readonly RepositoryLocation[]> {
  if (applicationId !== undefined && lineage !== undefined) return [{ application: applicationId, lineage }];
  const locations = await listApplications(store, { signal });
  return locations.filter((location) => {
    return (
      location.application === (applicationId ?? location.application) &&
      location.lineage === (lineage ?? location.lineage)
    );
  });
}

/** The only repository that a choice leaves; undefined where there is none, Failure `invalid` where there are several. */
export async function openOnlyRepository(
  store: ObjectStore,
  choice: RepositoryChoice,
  { signal, emit }: Pick<CommandContext, 'signal' | 'emit'>,
): Promise<Repository | undefined> {
  const found = await findRepositories(store, choice, { signal });
  const [only] = found;
  if (found.length > 1) {
    const names = found.map(({ application, lineage }) => `${application} in ${lineage}`).join(', ');
    const hint = '--application-id ID --lineage NAME';
    throw new Failure('invalid', `cannot choose among ${found.length} repositories: ${names}`, { hint });
  }
  const notice: Notice = (name, message, facts) => emit({ kind: 'notice', name, level: 'warn', message, facts });
  return only === undefined ? undefined : await openRepository(store, { ...only, signal, notice });
}
