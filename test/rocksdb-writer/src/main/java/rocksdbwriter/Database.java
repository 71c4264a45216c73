package rocksdbwriter;

import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import org.rocksdb.BlockBasedTableConfig;
import org.rocksdb.BloomFilter;
import org.rocksdb.ColumnFamilyDescriptor;
import org.rocksdb.ColumnFamilyHandle;
import org.rocksdb.ColumnFamilyOptions;
import org.rocksdb.CompactionStyle;
import org.rocksdb.CompressionType;
import org.rocksdb.DBOptions;
import org.rocksdb.FlushOptions;
import org.rocksdb.InfoLogLevel;
import org.rocksdb.ReadOptions;
import org.rocksdb.RocksDB;
import org.rocksdb.RocksDBException;
import org.rocksdb.RocksIterator;
import org.rocksdb.WriteOptions;

/** One RocksDB, opened with the options of Kafka's RocksDBStore (openDB), its buffers made small. */
final class Database implements AutoCloseable {
  static {
    RocksDB.loadLibrary();
  }

  private static final List<String> FAMILIES = List.of("default", "keyValueWithTimestamp");

  private final List<AutoCloseable> owned = new ArrayList<>();
  private final List<ColumnFamilyHandle> handles = new ArrayList<>();
  private final RocksDB db;
  private final WriteOptions writeOptions = own(new WriteOptions().setDisableWAL(true));
  private final FlushOptions flushOptions = own(new FlushOptions().setWaitForFlush(true));

  /** The greatest offset that each family held when {@link #findFloors} looked; 0 where it was empty. */
  final long[] floors = new long[FAMILIES.size()];

  Database(Path directory, boolean timestamped, Set<String> modes) throws Exception {
    Files.createDirectories(directory.getParent());
    DBOptions options = own(new DBOptions());
    options.setCreateIfMissing(true).setErrorIfExists(false).setCreateMissingColumnFamilies(true);
    options.setInfoLogLevel(InfoLogLevel.ERROR_LEVEL).setIncreaseParallelism(2);
    if (modes.contains("roll")) options.setMaxManifestFileSize(1000); // Some ten edits.
    ColumnFamilyOptions familyOptions = familyOptions(modes);
    List<ColumnFamilyDescriptor> descriptors = new ArrayList<>();
    for (String family : timestamped ? FAMILIES : FAMILIES.subList(0, 1)) {
      descriptors.add(new ColumnFamilyDescriptor(family.getBytes(StandardCharsets.UTF_8), familyOptions));
    }
    db = RocksDB.open(options, directory.toString(), descriptors, handles);
  }

  private ColumnFamilyOptions familyOptions(Set<String> modes) throws Exception {
    BlockBasedTableConfig tables = new BlockBasedTableConfig();
    tables.setBlockCacheSize(1 << 20).setBlockSize(4096).setFilter(own(new BloomFilter()));
    ColumnFamilyOptions options = own(new ColumnFamilyOptions());
    options.setTableFormatConfig(tables).setOptimizeFiltersForHits(true);
    options.setCompressionType(CompressionType.NO_COMPRESSION).setMaxWriteBufferNumber(3);
    if (modes.contains("churn")) {
      options.setWriteBufferSize(16 << 10).setCompactionStyle(CompactionStyle.LEVEL).setTargetFileSizeBase(16 << 10);
      options.setMaxBytesForLevelBase(64 << 10).setLevel0FileNumCompactionTrigger(2);
    } else {
      options.setWriteBufferSize(64 << 10).setCompactionStyle(CompactionStyle.UNIVERSAL);
    }
    if (modes.contains("blobs")) enableBlobs(options);
    return options;
  }

  /** By reflection: RocksDB 5.18 has no blob files. */
  private static void enableBlobs(ColumnFamilyOptions options) throws Exception {
    Class<?> type = ColumnFamilyOptions.class;
    type.getMethod("setEnableBlobFiles", boolean.class).invoke(options, true);
    type.getMethod("setMinBlobSize", long.class).invoke(options, 100L);
    type.getMethod("setBlobFileSize", long.class).invoke(options, 32L << 10);
    type.getMethod("setEnableBlobGarbageCollection", boolean.class).invoke(options, true);
    type.getMethod("setBlobGarbageCollectionAgeCutoff", double.class).invoke(options, 0.5);
  }

  private <T extends AutoCloseable> T own(T resource) {
    owned.add(resource);
    return resource;
  }

  void findFloors() throws RocksDBException {
    for (int family = 0; family < handles.size(); family++) {
      for (Entry entry : entries(family)) floors[family] = Math.max(floors[family], Operations.offsetOf(entry.value()));
    }
  }

  void put(int family, byte[] key, byte[] value) throws RocksDBException {
    db.put(handles.get(family), writeOptions, key, value);
  }

  void delete(int family, byte[] key) throws RocksDBException {
    db.delete(handles.get(family), writeOptions, key);
  }

  void flush() throws RocksDBException {
    for (ColumnFamilyHandle handle : handles) db.flush(flushOptions, handle);
  }

  void compact() throws RocksDBException {
    for (ColumnFamilyHandle handle : handles) db.compactRange(handle);
  }

  record Entry(byte[] key, byte[] value) {}

  /** Every entry of a family, its blocks checked against their checksums. */
  List<Entry> entries(int family) throws RocksDBException {
    List<Entry> entries = new ArrayList<>();
    try (ReadOptions options = new ReadOptions().setVerifyChecksums(true);
        RocksIterator iterator = db.newIterator(handles.get(family), options)) {
      for (iterator.seekToFirst(); iterator.isValid(); iterator.next()) {
        entries.add(new Entry(iterator.key(), iterator.value()));
      }
      iterator.status();
    }
    return entries;
  }

  /** Every block of every live table and blob file. RocksDB 5.18 cannot; there {@link #entries} reads the blocks of tables. */
  void verifyChecksum() throws Exception {
    try {
      RocksDB.class.getMethod("verifyChecksum").invoke(db);
    } catch (NoSuchMethodException absentBefore6) {
      return;
    }
  }

  /** RocksDB flushes first whatever was written without a write-ahead log. */
  @Override
  public void close() throws Exception {
    for (ColumnFamilyHandle handle : handles) handle.close();
    db.close();
    for (AutoCloseable resource : owned) resource.close();
  }
}
