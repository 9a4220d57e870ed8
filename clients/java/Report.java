import banshi.client.BanshiClient;
import banshi.client.BanshiClient.*;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;

class Report {
    public static void main(String[] paths) throws Exception {
        try (var client = new BanshiClient("amqp://guest:guest@127.0.0.1:5672/%2f")) {
            for (String path : paths) {
                String job = Files.readString(Path.of(path));
                Outcome outcome = client.sendAndWait(job, Duration.ofMinutes(5));
                if (outcome instanceof Completed it) {
                    System.out.println(it.jobId() + " " + it.artifact().uri());
                } else if (outcome instanceof Rejected it) {
                    for (Problem problem : it.problems()) {
                        System.out.printf("%s %s %s %s%n", it.jobId(), problem.code(), problem.path(), problem.messageZh());
                    }
                } else if (outcome instanceof Failed it) {
                    System.out.println(it.jobId() + " " + it.code() + " " + it.message());
                }
            }
        }
    }
}
