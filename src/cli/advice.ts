import type { Reason } from '../streams/reason.ts';

/** What changes a task that is not captured for this reason, or not warm: a setting, an action, or patience. */
export const ADVICE: Readonly<Record<Reason, string>> = {
  nothing_stored: 'nothing to do: it is stored with the first snapshot',
  too_old:
    'its changelog got no record for longer than --max-age: raise that, but stay below the delete.retention.ms of the changelogs',
  forgotten: 'nothing to do: somebody withdrew what was stored, and what comes now is stored anew',
  quarantined:
    'the application failed twice on what was restored: look at its log; another version of it, or one that lives, ends this',
  damaged:
    'stored bytes or a store on the disk are wrong: `warmstate verify` names what is stored; a damaged store on the disk is rebuilt by deleting its task directory while the application is down',
  incomplete:
    'files are missing in a store: if this stays, stop the application and delete the task directory, so that Kafka Streams rebuilds it',
  deadline: 'more time with --deadline, or faster storage',
  no_space: 'a larger volume, or a larger --state-dir-limit or --max-bytes if the volume has the room',
  not_selected: 'name it in --tasks, or leave that at auto',
  layout_too_new:
    'it was written by Kafka Streams 4.3 or later: if the application is that new again, leave --max-layout at column-family, and empty a volume that an older one left',
  guarantee_unknown:
    'set --processing-guarantee to the processing.guarantee of the application, for restore and run alike',
  exactly_once_running:
    'normal under exactly-once: it is captured when the application closes; if that is killed first, restarts are cold: give it a longer terminationGracePeriodSeconds',
  looks_exactly_once:
    'set --processing-guarantee exactly_once_v2 if that is what the application runs with: at_least_once does not fit what it does',
  segmented: 'nothing to do: it is captured when the application closes',
  no_offset:
    'nothing to do while the application restores or has just started; if it stays, the store has no changelog (withLoggingDisabled) or lost its .checkpoint',
  being_deleted: 'nothing to do: Kafka Streams removes the directory of a task that moved away',
  unclean_restart:
    'restart the pod once with a clean close: until the task directory is a new one nobody can tell what of it was committed',
  changing: 'nothing to do: it is tried again in the next round; if it stays, the disk is too slow for the write load',
  regressed:
    'if the application was reset or its changelog recreated on purpose, this is right; else look for who deleted records',
  wiped_by_application:
    'the application empties its own state directory: in Spring set spring.kafka.streams.cleanup.on-startup and on-shutdown to false, else take out KafkaStreams.cleanUp()',
  unsupported_store: 'a custom store can only be captured closed: it is taken when the application ends',
  unsupported_application: 'leave warmstate out of this pod: such an application deletes what it does not know',
  topic_changed: 'nothing to do: its changelog is another topic now, and what comes is stored anew',
  claimed_elsewhere: 'nothing to do: another instance has it',
  storage: 'see the problem of the storage; `warmstate doctor` tries every step',
  denied: 'see the problem; `warmstate doctor` says which user or right is missing',
  application_running: 'restore only while the application is down',
};
