import java.util.function.Predicate;
import java.util.function.Supplier;
import software.amazon.awssdk.auth.credentials.ContainerCredentialsProvider;
import software.amazon.awssdk.auth.credentials.DefaultCredentialsProvider;
import software.amazon.awssdk.core.exception.SdkClientException;
import software.amazon.awssdk.services.s3.S3Client;
import software.amazon.awssdk.services.s3.model.S3Exception;

/** The AWS SDK for Java v2 with its default chain. One JSON line for each step, again and again. */
public final class Aws {
    private static final long PAUSE = 1000;

    private static void step(String name, Supplier<String> run, Predicate<Exception> refusal) {
        String key = "";
        String error = "";
        boolean ok;
        try {
            key = run.get();
            ok = refusal == null;
        } catch (Exception failure) {
            error = failure.toString();
            ok = refusal != null && refusal.test(failure);
        }
        System.out.printf("{\"step\":\"%s\",\"ok\":%b,\"key\":\"%s\",\"error\":\"%s\"}%n", name, ok, key, text(error));
        System.out.flush();
    }

    private static String text(String said) {
        return said.replaceAll("\\s+", " ").replace("\\", "\\\\").replace("\"", "\\\"");
    }

    private static String get(S3Client client, String bucket, String key) {
        client.getObjectAsBytes(request -> request.bucket(bucket).key(key));
        return "";
    }

    private static String held(DefaultCredentialsProvider chain) {
        return chain.resolveCredentials().accessKeyId();
    }

    /** The chain's exception leaves out what each provider was told; a provider that is named has it as its cause. */
    private static String fetch() {
        try (DefaultCredentialsProvider fresh = DefaultCredentialsProvider.builder().build()) {
            return held(fresh);
        } catch (SdkClientException nothing) {
            try (ContainerCredentialsProvider named = ContainerCredentialsProvider.builder().build()) {
                named.resolveCredentials();
                throw nothing;
            } catch (SdkClientException told) {
                throw new IllegalStateException(nothing.getMessage() + "; ContainerCredentialsProvider: " + told.getCause(), told);
            }
        }
    }

    public static void main(String[] arguments) throws InterruptedException {
        // What a client has when it is told nothing.
        DefaultCredentialsProvider chain = DefaultCredentialsProvider.builder().build();
        S3Client client = S3Client.builder().credentialsProvider(chain).build();
        while (true) {
            step("fetch", Aws::fetch, null);
            step("use", () -> {
                String key = held(chain);
                get(client, "reports", "q3.txt");
                return key;
            }, null);
            step("denied", () -> get(client, "payroll", "salaries.txt"),
                    error -> error instanceof S3Exception refused && "AccessDenied".equals(refused.awsErrorDetails().errorCode()));
            Thread.sleep(PAUSE);
        }
    }
}
