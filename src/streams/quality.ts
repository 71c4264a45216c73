/** Why an entry may be trusted. */
export type Quality = 'clean' | 'live' | 'transactional';
