/** Why a task could not be captured, or not be made warm. A closed set: users alert on these words. */
export const REASONS = [
  'nothing_stored',
  'too_old',
  'forgotten',
  'quarantined',
  'damaged',
  'incomplete',
  'deadline',
  'no_space',
  'not_selected',
  'layout_too_new',
  'guarantee_unknown',
  'exactly_once_running',
  'looks_exactly_once',
  'segmented',
  'no_offset',
  'being_deleted',
  'unclean_restart',
  'changing',
  'regressed',
  'wiped_by_application',
  'unsupported_store',
  'unsupported_application',
  'topic_changed',
  'claimed_elsewhere',
  'storage',
  'denied',
  'application_running',
] as const;

export type Reason = (typeof REASONS)[number];

/** A reason with the sentence that says it with the values of the case. */
export interface Explanation {
  readonly reason: Reason;
  readonly message: string;
}
