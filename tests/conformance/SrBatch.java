import com.pixelmed.dicom.AttributeList;
import com.pixelmed.validate.DicomSRValidator;

/** Validates every file named on the command line with one validator: starting it takes longer than a file. */
public class SrBatch {
    public static void main(String[] files) throws Exception {
        DicomSRValidator validator = new DicomSRValidator();
        for (String file : files) {
            AttributeList list = new AttributeList();
            list.read(file);
            System.out.println("### " + file);
            System.out.println(validator.validate(list));
        }
    }
}
