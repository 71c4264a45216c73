package rocksdbwriter;

import java.io.FileOutputStream;
import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.Map;
import java.util.TreeMap;

/** The files of a task beside its databases, written and removed the way Kafka does it. */
final class TaskFiles {
  private TaskFiles() {}

  /** As OffsetCheckpoint.write: a temporary file, synced, renamed over the old one, the directory synced. */
  static void writeCheckpoint(Path file, Map<String, Long> offsetByTopic, int partition) throws IOException {
    StringBuilder text = new StringBuilder("0\n" + offsetByTopic.size() + "\n");
    offsetByTopic.forEach((topic, offset) -> text.append(topic + " " + partition + " " + offset + "\n"));
    Path temporary = file.resolveSibling(file.getFileName() + ".tmp");
    try (FileOutputStream out = new FileOutputStream(temporary.toFile())) {
      out.write(text.toString().getBytes(StandardCharsets.UTF_8));
      out.getFD().sync();
    }
    Files.move(temporary, file, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
    try (FileChannel directory = FileChannel.open(file.getParent(), StandardOpenOption.READ)) {
      directory.force(true);
    }
  }

  /** Empty when there is none. */
  static Map<String, Long> readCheckpoint(Path file) throws IOException {
    Map<String, Long> offsetByTopic = new TreeMap<>();
    try {
      Files.readAllLines(file).stream().skip(2).map(line -> line.split(" "))
          .forEach(fields -> offsetByTopic.put(fields[0], Long.parseLong(fields[2])));
    } catch (NoSuchFileException absent) {
      return offsetByTopic;
    }
    return offsetByTopic;
  }

  /** As Utils.delete: depth first, in the order in which the directory lists its entries. */
  static void delete(Path path) throws IOException {
    if (Files.isDirectory(path, LinkOption.NOFOLLOW_LINKS)) {
      try (DirectoryStream<Path> entries = Files.newDirectoryStream(path)) {
        for (Path entry : entries) delete(entry);
      }
    }
    Files.deleteIfExists(path);
  }
}
