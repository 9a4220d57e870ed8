import java.io.File;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.logging.Level;
import java.util.logging.Logger;
import org.verapdf.gf.foundry.VeraGreenfieldFoundryProvider;
import org.verapdf.pdfa.Foundries;
import org.verapdf.pdfa.PDFAParser;
import org.verapdf.pdfa.PDFAValidator;
import org.verapdf.pdfa.VeraPDFFoundry;
import org.verapdf.pdfa.flavours.PDFAFlavour;
import org.verapdf.pdfa.results.TestAssertion;
import org.verapdf.pdfa.results.ValidationResult;
import org.verapdf.pdfa.validation.profiles.RuleId;

/** Many files against some flavours in one run: verapdf calls it, and says what it prints. */
public final class Verapdf {
  public static void main(String[] arguments) throws Exception {
    Logger.getLogger("").setLevel(Level.OFF); // a broken file is told on standard output
    VeraGreenfieldFoundryProvider.initialise();
    VeraPDFFoundry foundry = Foundries.defaultInstance();
    boolean passed = true;
    for (int i = 1; i < arguments.length; i++) {
      for (String name : arguments[0].split(",")) {
        passed &= check(foundry, name, arguments[i]);
      }
    }
    System.exit(passed ? 0 : 1);
  }

  private static boolean check(VeraPDFFoundry foundry, String name, String file) {
    PDFAFlavour flavour = PDFAFlavour.fromString(name);
    if (flavour == PDFAFlavour.NO_FLAVOUR) {
      throw new IllegalArgumentException("no such flavour: " + name);
    }
    try (PDFAParser parser = foundry.createParser(new File(file), flavour)) {
      PDFAValidator validator = foundry.createValidator(flavour, false);
      ValidationResult result = validator.validate(parser);
      if (result.isCompliant() && result.getTotalAssertions() > 0) {
        System.out.println("PASS " + name + " " + file);
        return true;
      }
      Map<RuleId, TestAssertion> broken = new LinkedHashMap<>();
      for (TestAssertion assertion : result.getTestAssertions()) {
        if (assertion.getStatus() == TestAssertion.Status.FAILED) {
          broken.putIfAbsent(assertion.getRuleId(), assertion);
        }
      }
      System.out.println("FAIL " + name + " " + file);
      broken.forEach(
          (rule, first) ->
              System.out.println(
                  "  clause " + rule.getClause() + "-" + rule.getTestNumber() + " " + first.getMessage().replaceAll("\\s+", " ")));
    } catch (Exception | LinkageError error) {
      System.out.println("FAIL " + name + " " + file + "\n  " + error);
    }
    return false;
  }
}
