// Every view, read by JDBC as Metabase, Tableau and others do: in text, and in
// binary with prepared statements.

import java.sql.*;
import java.util.*;

public class Jdbc {
	static int done = 0;

	static void ok(boolean good, String what, Object why) {
		System.out.println((good ? "ok " : "not ok ") + ++done + " - JDBC, " + what);
		if (!good)
			System.out.println("# " + why);
	}

	static final Map<String, Class<?>> CLASSES = Map.of("bigint", Long.class, "integer", Integer.class, "text", String.class,
		"double precision", Double.class, "boolean", Boolean.class, "date", java.sql.Date.class,
		"timestamp with time zone", Timestamp.class);

	record Column(String name, String type) {}

	static Map<String, List<Column>> views(Connection c) throws SQLException {
		var views = new TreeMap<String, List<Column>>();
		try (var s = c.createStatement(); var r = s.executeQuery("SELECT view_name, column_name, type FROM public.expected")) {
			while (r.next())
				views.computeIfAbsent(r.getString(1), v -> new ArrayList<>()).add(new Column(r.getString(2), r.getString(3)));
		}
		return views;
	}

	static void readViews(Connection c, String mode) throws SQLException {
		for (var view : views(c).entrySet()) {
			String wrong = "";
			try (var s = c.prepareStatement("SELECT * FROM chs." + view.getKey())) {
				s.setFetchSize(20);
				for (int round = 0; round < 2; round++)
					try (var r = s.executeQuery()) {
						var m = r.getMetaData();
						if (m.getColumnCount() != view.getValue().size())
							wrong = m.getColumnCount() + " columns";
						while (r.next())
							for (int i = 1; i <= m.getColumnCount(); i++) {
								var column = view.getValue().get(i - 1);
								Object value = r.getObject(i);
								Class<?> type = CLASSES.get(column.type());
								if (!m.getColumnName(i).equals(column.name()) || value != null && type != null && !type.isInstance(value))
									wrong = column + ": " + value.getClass();
								if ((value == null) != r.wasNull())
									wrong = column + ": null or not";
							}
					}
			}
			c.commit();
			ok(wrong.isEmpty(), mode + ": " + view.getKey() + " has its columns and types", wrong);
		}
	}

	static void page(Connection c, String mode) throws SQLException {
		var seen = new ArrayList<Long>();
		try (var s = c.prepareStatement("SELECT customer_id, score FROM chs.customer_list WHERE customer_id > ? ORDER BY customer_id LIMIT 50")) {
			for (long last = 0;;) {
				s.setLong(1, last);
				int n = 0;
				try (var r = s.executeQuery()) {
					for (; r.next(); n++)
						seen.add(last = r.getLong(1));
				}
				if (n == 0)
					break;
			}
		}
		try (var s = c.createStatement(); var r = s.executeQuery("SELECT count(*) FROM chs.customer_list")) {
			r.next();
			ok(seen.size() == r.getLong(1) && new TreeSet<>(seen).size() == seen.size(), mode + ": pages have everyone once", seen.size());
		}
		c.commit();
	}

	static void cancel(Connection c, String mode) throws Exception {
		var timer = new java.util.Timer(true);
		try (var s = c.createStatement()) {
			// again and again, in case the query has not begun
			timer.schedule(new TimerTask() {
				public void run() {
					try {
						s.cancel();
					} catch (SQLException e) {
						System.out.println("# " + e);
					}
				}
			}, 200, 200);
			s.executeQuery("SELECT count(*) FROM chs.customer_list a, chs.customer_list b, chs.customer_list c, chs.customer_list d");
			ok(false, mode + ": a query is cancelled", "it ended");
		} catch (SQLException e) {
			ok("57014".equals(e.getSQLState()), mode + ": a query is cancelled", e);
		}
		timer.cancel();
		c.rollback();
		try (var s = c.createStatement(); var r = s.executeQuery("SELECT total FROM chs.dashboard_stats")) {
			ok(r.next() && r.getLong(1) > 0, mode + ": and the next one answers", "");
		}
		c.rollback();
	}

	static void reflect(Connection c) throws SQLException {
		int columns = 0, remarks = 0;
		try (var r = c.getMetaData().getColumns(null, "chs", "customer_list", null)) {
			for (; r.next(); columns++)
				if (r.getString("REMARKS") != null)
					remarks++;
		}
		ok(columns >= 14 && remarks == columns, "metadata has columns with comments", columns + " " + remarks);
		int tables = 0;
		try (var r = c.getMetaData().getTables(null, "chs", "%", new String[] {"VIEW"})) {
			for (; r.next(); tables++)
				;
		}
		ok(tables >= 20, "metadata has the views", tables);
	}

	public static void main(String[] args) throws Exception {
		String url = "jdbc:postgresql://127.0.0.1:" + System.getenv("PGPORT") + "/" + System.getenv("PGDATABASE") + "?user=bi";
		for (String mode : List.of("text", "binary"))
			try (var c = DriverManager.getConnection(url + (mode.equals("binary") ? "&prepareThreshold=-1&binaryTransfer=true" : "&binaryTransfer=false"))) {
				c.setAutoCommit(false);
				readViews(c, mode);
				page(c, mode);
				cancel(c, mode);
				if (mode.equals("text"))
					reflect(c);
			}
		System.out.println("1.." + done);
	}
}
