// Lists of objects in a JSON file, read into one or more tensors for each of their keys.
//
// read_json_columns
//   text      (B,) uint8, the file
//   lists     for each column the key of a list in the outermost object; "" where the file itself is the list
//   keys      for each column the key of the objects in that list
//   kinds     for each column what it holds; null is as good as absent
//   results   the tensors of all columns, one column after the other. With N objects in the list:
//     key       a number or string that many objects share:
//       index       (N,) int64, of its distinct values
//       places      (D, 2) int64, where each of these begins and ends in the text
//     number    a number; flag: a number, or a truth as 0 or 1:
//       values      (N,) double, NaN where there is none
//     numbers   an array of numbers:
//       values      (V,) double, of all objects one after another
//       offsets     (N+1,) int64, where those of each object begin, and where the last end
//     mask      COCO's segmentation: polygons, or an object with the keys size and counts, of which these may be a
//               string or the lengths of the runs
//       corners     (2P,) double, x y of each corner of all polygons
//       polygons    (Q+1,) int64, where each polygon begins among the corners
//       offsets     (N+1,) int64, where those of each object begin among the polygons
//       characters  (C,) uint8, compressed run lengths of all objects; see rle.h
//       strings     (N+1,) int64, where those of each object begin
//       sizes       (N, 2) int64, height and width where there are such, else 0
//
// Raises what is unexpected and where: malformed JSON, a list that is not there or is there twice, a value of another
// kind, a key of the columns with an escape or twice in one object.
