package banshi.client;

import banshi.client.BanshiClient.BanshiException;
import banshi.client.BanshiClient.Lane;
import banshi.client.BanshiClient.SendOptions;
import java.io.File;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.UUID;
import java.util.stream.Stream;

/**
 * Jobs that are to be sent, in a folder, where they survive a crash of the sender.
 *
 * <p>A file is a job, {@code NUMBER-RANDOM.LANE.json}, sent in the order of the numbers and removed once
 * it is confirmed. If we crash in between, it is sent again, which is harmless.
 */
public final class Outbox {
    private static long last;

    private final Path folder;

    public Outbox(Path folder) throws IOException {
        this.folder = Files.createDirectories(folder);
    }

    /** Keeps a job; when this returns it is on the disk. */
    public Path put(String job, Lane lane) throws IOException, BanshiException {
        BanshiClient.jobId(job);
        String random = UUID.randomUUID().toString().substring(0, 8);
        String name = String.format("%020d-%s.%s.json", number(), random, lane.key());
        Path part = folder.resolve("." + name + ".part");
        Path kept;
        try {
            write(part, job.getBytes(StandardCharsets.UTF_8));
            kept = Files.move(part, folder.resolve(name), StandardCopyOption.ATOMIC_MOVE);
        } finally {
            Files.deleteIfExists(part); // it is there where something failed only
        }
        if (File.separatorChar != '\\') { // Windows syncs no folders
            try (FileChannel names = FileChannel.open(folder)) {
                names.force(true);
            }
        }
        return kept;
    }

    private static void write(Path path, byte[] job) throws IOException {
        try (FileChannel file = FileChannel.open(path, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE)) {
            ByteBuffer bytes = ByteBuffer.wrap(job);
            while (bytes.hasRemaining()) {
                file.write(bytes);
            }
            file.force(true);
        }
    }

    /** The jobs that are kept, the first first. */
    public List<Path> waiting() throws IOException {
        try (Stream<Path> paths = Files.list(folder)) {
            return paths.filter(path -> isJob(path.getFileName().toString())).sorted().toList();
        }
    }

    /** Sends all, and says how many; what it throws leaves the job and those after it kept. */
    public int flush(BanshiClient client, Duration timeout)
            throws IOException, BanshiException, InterruptedException {
        int sent = 0;
        for (Path path : waiting()) {
            String job;
            try {
                job = Files.readString(path);
            } catch (NoSuchFileException error) { // another process sent it meanwhile
                continue;
            }
            String[] name = path.getFileName().toString().split("\\.");
            client.send(job, SendOptions.DEFAULT.lane(Lane.named(name[name.length - 2])).timeout(timeout));
            Files.deleteIfExists(path);
            sent += 1;
        }
        return sent;
    }

    /** The moment in nanoseconds, and more than the one before, in whichever outbox that was. */
    private static synchronized long number() {
        Instant now = Instant.now();
        last = Math.max(last + 1, now.getEpochSecond() * 1_000_000_000 + now.getNano());
        return last;
    }

    private static boolean isJob(String name) {
        return name.endsWith(".json") && !name.startsWith(".");
    }
}
