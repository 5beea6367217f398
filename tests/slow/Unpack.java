import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Enumeration;
import java.util.zip.ZipEntry;
import java.util.zip.ZipFile;
import java.util.zip.ZipInputStream;

/** Unpack an archive without seeking and by its central directory: java Unpack.java ZIP TO TO. */
public class Unpack {
    public static void main(String[] arguments) throws IOException {
        Path archive = Path.of(arguments[0]);
        try (ZipInputStream input = new ZipInputStream(Files.newInputStream(archive))) {
            for (ZipEntry entry; (entry = input.getNextEntry()) != null;) {
                write(input, Path.of(arguments[1], entry.getName()));
            }
        }
        try (ZipFile file = new ZipFile(archive.toFile())) {
            for (Enumeration<? extends ZipEntry> all = file.entries(); all.hasMoreElements();) {
                ZipEntry entry = all.nextElement();
                try (InputStream input = file.getInputStream(entry)) {
                    write(input, Path.of(arguments[2], entry.getName()));
                }
            }
        }
    }

    private static void write(InputStream input, Path path) throws IOException {
        Files.createDirectories(path.getParent());
        Files.copy(input, path);
    }
}
