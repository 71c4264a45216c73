package warmstate;

/** Which topology the application has: releases of it differ. */
enum Release {
    /** As README.md says. */
    FIRST,
    /** The sub-topologies in the other order: what was task 0_1 is 1_1, and the other way round. */
    TABLE_FIRST,
    /** Sub-topology 1 is gone. */
    WITHOUT_TABLE,
    /** So is the global topic: what was the table is read as the global table. */
    OTHER_GLOBAL,
    /** The store in memory is gone: what is left has all its state on disk. */
    WITHOUT_MEMORY,
}
