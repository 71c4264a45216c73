package warmstate;

import java.util.Map;
import org.apache.kafka.streams.state.RocksDBConfigSetter;
import org.rocksdb.Options;

/** Sets the size of the write buffers, so that little data makes many tables. */
public final class WriteBuffers implements RocksDBConfigSetter {
    /** The application's own setting that carries the size in bytes. */
    static final String SIZE_SETTING = "warmstate.write.buffer.bytes";

    @Override
    public void setConfig(String storeName, Options options, Map<String, Object> configs) {
        options.setWriteBufferSize(Long.parseLong(String.valueOf(configs.get(SIZE_SETTING))));
    }

    @Override
    public void close(String storeName, Options options) {
        // Nothing was opened.
    }
}
