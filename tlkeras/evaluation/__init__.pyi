"""The public names of the package for editors and type checkers, which do not see lazy imports."""

from tlkeras.evaluation import clusters as clusters
from tlkeras.evaluation import explain as explain
from tlkeras.evaluation import named_metrics as named_metrics
from tlkeras.evaluation import prediction_files as prediction_files
from tlkeras.evaluation import unlabelled as unlabelled
from tlkeras.evaluation.calibration import expected_calibration_error as expected_calibration_error
from tlkeras.evaluation.calibration import fit_temperature as fit_temperature
from tlkeras.evaluation.calibration import reliability_bins as reliability_bins
from tlkeras.evaluation.metrics import compute_metrics as compute_metrics
from tlkeras.evaluation.metrics import confusion_matrix as confusion_matrix
from tlkeras.evaluation.metrics import write_confusion as write_confusion
from tlkeras.evaluation.prediction_files import escape_cell as escape_cell
from tlkeras.evaluation.prediction_files import write_csv as write_csv
from tlkeras.evaluation.prediction_files import write_json_lines as write_json_lines
from tlkeras.evaluation.predictions import Predictions as Predictions
from tlkeras.evaluation.predictions import predict_rows as predict_rows
from tlkeras.evaluation.verdict import Verdict as Verdict
from tlkeras.evaluation.verdict import judge as judge
